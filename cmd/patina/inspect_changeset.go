package main

import (
	"fmt"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// changesetReport is a changeset as inspect shows it. Values are SQL literals,
// which keep the storage class.
type changesetReport struct {
	Actor    changeset.ActorID `json:"actor"`
	Version  changeset.Version `json:"version"`
	Time     string            `json:"time"`
	Previous string            `json:"previous"`
	After    []afterReport     `json:"after"`
	Hash     string            `json:"hash"`
	Bytes    int               `json:"bytes"`
	Tables   []tableReport     `json:"tables"`
}

type afterReport struct {
	Actor   changeset.ActorID `json:"actor"`
	Version changeset.Version `json:"version"`
}

type tableReport struct {
	Name       string                 `json:"name"`
	Generation changeset.CausalLength `json:"generation"`
	Changes    []changeReport         `json:"changes"`
}

type changeReport struct {
	Key          []cellReport           `json:"key"`
	CausalLength changeset.CausalLength `json:"causal_length"`
	Deleted      bool                   `json:"deleted"`
	Columns      []cellReport           `json:"columns"`
}

type cellReport struct {
	Column string `json:"column"`
	Value  string `json:"value"`
}

func readChangeset(data []byte) (inspection, error) {
	sealed, err := changeset.Open(data)
	if err != nil {
		return nil, err
	}
	whole, err := sealed.Decode()
	if err != nil {
		return nil, err
	}
	r := &changesetReport{
		Actor: sealed.Actor, Version: sealed.Version, Time: sealed.Time.String(),
		Previous: sealed.Previous.String(), Hash: sealed.Hash.String(), Bytes: len(data),
		After: []afterReport{}, Tables: []tableReport{},
	}
	for _, id := range sealed.After {
		r.After = append(r.After, afterReport(id))
	}
	for i := range whole.Tables {
		r.Tables = append(r.Tables, reportTable(&whole.Tables[i]))
	}
	return r, nil
}

func reportTable(t *changeset.TableChanges) tableReport {
	r := tableReport{Name: t.Name, Generation: t.Generation, Changes: []changeReport{}}
	for _, c := range t.Changes {
		to := changeReport{CausalLength: c.CausalLength, Deleted: !c.CausalLength.Alive(), Key: []cellReport{}, Columns: []cellReport{}}
		for i, v := range c.Key {
			to.Key = append(to.Key, cellReport{t.Key[i], v.String()})
		}
		next := 0
		for i := range c.Columns.All {
			to.Columns = append(to.Columns, cellReport{t.Columns[i], c.Values[next].String()})
			next++
		}
		r.Changes = append(r.Changes, to)
	}
	return r
}

func (r *changesetReport) print(b *strings.Builder) {
	fmt.Fprintf(b, "changeset  %v version %d\ntime       %s\nprevious   %s\nhash       %s\nsize       %d bytes\n",
		r.Actor, r.Version, r.Time, r.Previous, r.Hash, r.Bytes)
	for _, id := range r.After {
		fmt.Fprintf(b, "after      %v version %d\n", id.Actor, id.Version)
	}
	for _, t := range r.Tables {
		fmt.Fprintf(b, "table      %s generation %d\n", printable(t.Name), t.Generation)
		for _, c := range t.Changes {
			fmt.Fprintf(b, "  length %d %s", c.CausalLength, assignments(c.Key))
			switch {
			case c.Deleted:
				b.WriteString(" deleted")
			case len(c.Columns) > 0:
				b.WriteString(": " + assignments(c.Columns))
			}
			b.WriteByte('\n')
		}
	}
}

func assignments(cells []cellReport) string {
	list := make([]string, len(cells))
	for i, c := range cells {
		list[i] = printable(c.Column) + "=" + printable(c.Value)
	}
	return strings.Join(list, " ")
}
