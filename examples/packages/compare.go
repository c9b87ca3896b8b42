package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"strings"
	"time"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

// pollEvery is how often nodes are asked whether they are equal yet.
const pollEvery = 50 * time.Millisecond

// waitEqual returns once every node has applied what was acknowledged and all
// have equal vectors and schemas, which means equal content.
func waitEqual(ctx context.Context, nodes []*client.Client, acknowledged heads) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	why := "no node answered"
	for {
		behind, err := firstDifference(ctx, nodes, acknowledged)
		switch {
		case err == nil && behind == "":
			return nil
		case err == nil:
			why = behind
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the nodes are not equal: %s: %w", why, context.Cause(ctx))
		}
	}
}

// firstDifference says in what a node differs from the first one, or what it
// lacks; "" if all are equal.
func firstDifference(ctx context.Context, nodes []*client.Client, acknowledged heads) (string, error) {
	var first client.Status
	for i, node := range nodes {
		s, err := node.Status(ctx)
		if err != nil {
			return "", fmt.Errorf("ask %s for its status: %w", node.Addr(), err)
		}
		for actor, version := range acknowledged {
			if s.Heads[actor] < version {
				return fmt.Sprintf("%s has version %d of actor %s, acknowledged is %d", node.Addr(), s.Heads[actor], actor, version), nil
			}
		}
		if i == 0 {
			first = s
		}
		if s.SchemaDigest != first.SchemaDigest {
			return fmt.Sprintf("the schemas of %s and %s differ", nodes[0].Addr(), node.Addr()), nil
		}
		if s.VectorDigest != first.VectorDigest {
			return fmt.Sprintf("the vectors of %s and %s differ", nodes[0].Addr(), node.Addr()), nil
		}
	}
	return "", nil
}

// line is a row as a JSON array in the one form that is compared.
type line = string

// asLine writes a row as a line. Tables here hold text, integers and NULL.
func asLine(row []client.Value) line {
	cells := make([]any, len(row))
	for i, v := range row {
		switch v.Kind() {
		case changeset.Integer:
			cells[i] = v.Integer()
		case changeset.Text:
			cells[i] = v.Text()
		case changeset.Null:
		default:
			cells[i] = map[string]string{v.Kind().String(): v.String()} // equal to no row of ours
		}
	}
	return encodeLine(cells)
}

func encodeLine(cells []any) line {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(cells); err != nil { // text, numbers and nil always encode
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// compare walks what a table should hold and what it does hold, both in the
// order of the key, and returns the number of rows, or the first difference.
func compare(t *table, want iter.Seq[[]client.Value], got iter.Seq2[line, error]) (rows int, err error) {
	next, stop := iter.Pull(want)
	defer stop()
	for have, err := range got {
		if err != nil {
			return rows, fmt.Errorf("read %s: %w", t.name, err)
		}
		row, ok := next()
		if !ok {
			return rows, fmt.Errorf("%s has a row that the source has not: %s", t.name, have)
		}
		if wanted := asLine(row); have != wanted && respell(have) != wanted {
			return rows, fmt.Errorf("row %d of %s is %s, the source has %s", rows+1, t.name, have, wanted)
		}
		rows++
	}
	if row, ok := next(); ok {
		return rows, fmt.Errorf("%s lacks a row of the source: %s", t.name, asLine(row))
	}
	return rows, nil
}

// respell writes a line in our spelling: SQLite escapes other characters than we
// do.
func respell(l line) line {
	var cells []any
	d := json.NewDecoder(strings.NewReader(l))
	d.UseNumber()
	if d.Decode(&cells) != nil {
		return l
	}
	return encodeLine(cells)
}

// fileRows reads a table from a database file with the stock sqlite3 program.
func fileRows(ctx context.Context, file string, t *table) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var problems bytes.Buffer
		command := exec.CommandContext(ctx, "sqlite3", "-batch", "-readonly", "-list", "-noheader", file,
			t.inOrder("json_array("+strings.Join(t.columns, ", ")+")"))
		command.Stderr = &problems
		out, err := command.StdoutPipe()
		if err == nil {
			err = command.Start()
		}
		if err != nil {
			yield("", err)
			return
		}
		more := true
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, maxLine)
		for more && lines.Scan() {
			more = yield(lines.Text(), nil)
		}
		if !more {
			cancel()
			command.Wait() // ended by us: what it says does not matter
			return
		}
		if err := errors.Join(lines.Err(), command.Wait()); err != nil {
			yield("", fmt.Errorf("sqlite3 %s: %w: %s", file, err, bytes.TrimSpace(problems.Bytes())))
		}
	}
}

// nodeRows reads a table through a node's API.
func nodeRows(ctx context.Context, node *client.Client, t *table) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		rows, err := node.Query(ctx, client.Statement{SQL: t.inOrder(strings.Join(t.columns, ", "))}, 0)
		if err != nil {
			yield("", err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			if !yield(asLine(rows.Values()), nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield("", err)
		}
	}
}
