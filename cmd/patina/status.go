package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:   "status",
		Usage:  "show a node's state",
		Flags:  []cli.Flag{apiFlag(), jsonFlag("print it as JSON")},
		Action: runStatus,
	}
}

func runStatus(c *cli.Context) error {
	s, err := askStatus(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, s)
	}
	return printStatus(c, &s)
}

func askStatus(c *cli.Context) (s client.Status, err error) {
	node, err := connect(c)
	if err != nil {
		return s, err
	}
	defer node.Close()
	if c.NArg() > 0 {
		return s, fmt.Errorf("%s takes no arguments", c.Command.Name)
	}
	return node.Status(c.Context)
}

func printStatus(c *cli.Context, s *client.Status) error {
	ready := "yes"
	if !s.Ready {
		ready = "no: " + s.NotReady
	}
	uptime := time.Duration(s.Uptime * float64(time.Second)).Round(time.Second)
	_, err := fmt.Fprintf(c.App.Writer,
		"actor    %v\ncluster  %s\nversion  %s\nuptime   %v\nready    %s\nvector   %v\nschema   %v\n",
		s.Actor, printable(s.Cluster), printable(s.Version), uptime, printable(ready), s.VectorDigest, s.SchemaDigest)
	if err != nil {
		return err
	}
	if err := printMembers(c, s, "\n"); err != nil {
		return err
	}
	heads := newGrid(c.App.Writer, "HEADS OF", "VERSION").after("\n")
	for _, a := range slices.SortedFunc(maps.Keys(s.Heads), changeset.ActorID.Compare) {
		if err := heads.add(a.String(), fmt.Sprint(s.Heads[a])); err != nil {
			return err
		}
	}
	queues := newGrid(c.App.Writer, "QUEUE", "DEPTH", "CAPACITY", "DROPPED").after("\n")
	for _, q := range s.Queues {
		if err := queues.add(q.Name, fmt.Sprint(q.Depth), fmt.Sprint(q.Capacity), fmt.Sprint(q.Dropped)); err != nil {
			return err
		}
	}
	parked := newGrid(c.App.Writer, "PARKED OF", "VERSION", "REASON").after("\n")
	for _, p := range s.Parked {
		if err := parked.add(p.Actor.String(), fmt.Sprint(p.Version), printable(p.Reason)); err != nil {
			return err
		}
	}
	forked := newGrid(c.App.Writer, "FORKED ACTOR", "REASON").after("\n")
	for _, f := range s.Forked {
		if err := forked.add(f.Actor.String(), printable(f.Reason)); err != nil {
			return err
		}
	}
	missing := newGrid(c.App.Writer, "MISSING OF", "VERSIONS").after("\n")
	for _, m := range s.Missing {
		if err := missing.add(m.Actor.String(), m.Versions); err != nil {
			return err
		}
	}
	unequal := newGrid(c.App.Writer, "ROWS DIFFER FROM", "SINCE", "TABLES").after("\n")
	for _, u := range s.Unequal {
		if err := unequal.add(u.Peer.String(), printable(u.Since), printable(strings.Join(u.Tables, ", "))); err != nil {
			return err
		}
	}
	return cmp.Or(heads.flushIfAny(), queues.flushIfAny(), parked.flushIfAny(), forked.flushIfAny(), missing.flushIfAny(), unequal.flushIfAny(), printLogs(c, s))
}

// printLogs tells of a log of changesets that stays beyond its bounds, and of a
// write-ahead log that cannot be reset or moved.
func printLogs(c *cli.Context, s *client.Status) error {
	w, text := s.WAL, ""
	if s.Filling != "" {
		text += "\n" + printable(s.Filling) + "\n"
	}
	if s.Log.Held != "" {
		text += fmt.Sprintf("\nthe log of changesets, %d bytes, is kept beyond its bounds: %s\n", s.Log.Bytes, printable(s.Log.Held))
	}
	if w.OutsideRead > 0 {
		text += fmt.Sprintf("\nanother process has been reading for %v or more and keeps the write-ahead log, %d bytes, from being reset\n",
			time.Duration(w.OutsideRead*float64(time.Second)).Round(time.Second), w.Bytes)
	}
	if w.Failure != "" {
		text += "\nthe write-ahead log cannot be moved into the database file: " + printable(w.Failure) + "\n"
	}
	if w.Refused != "" {
		text += "\n" + printable(w.Refused) + "\n"
	}
	_, err := io.WriteString(c.App.Writer, text)
	return err
}

func printJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
