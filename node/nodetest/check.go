package nodetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/patinadb/patina/changeset/sqlite"
)

// look is how often conditions are looked at, in virtual time.
const look = 20 * time.Millisecond

// Await waits until condition holds, looking at it whenever nothing else can
// happen at that instant, and fails the test after limit. It returns how long it
// took. It needs a bubble.
func (c *Cluster) Await(what string, limit time.Duration, condition func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		if condition() {
			return time.Since(began)
		}
		if time.Since(began) >= limit {
			c.t.Fatalf("did not happen within %v: %s\n%s", limit, what, c.describe())
		}
		time.Sleep(look)
	}
}

// AwaitEqual waits until all running members have applied the same versions,
// then checks as CheckEqual does. It returns how long that took.
func (c *Cluster) AwaitEqual(limit time.Duration) time.Duration {
	c.t.Helper()
	took := c.Await("equal vectors", limit, c.equalVectors)
	c.CheckEqual()
	return took
}

func (c *Cluster) equalVectors() bool {
	members := c.Running()
	for _, m := range members[1:] {
		if m.Node().Store().Vector().Digest() != members[0].Node().Store().Vector().Digest() {
			return false
		}
	}
	return true
}

// CheckEqual fails the test unless all running members have equal vectors,
// nothing parked, equal rows and equal row clocks.
func (c *Cluster) CheckEqual() {
	c.t.Helper()
	synctest.Wait()
	members := c.Running()
	if !c.equalVectors() {
		c.t.Fatalf("vectors differ\n%s", c.describe())
	}
	first := members[0].Content()
	for _, m := range members {
		if parked := m.Node().Store().Parked(); len(parked) > 0 {
			c.t.Fatalf("%s has parked %v", m.Name, parked)
		}
		if diff := first.Diff(m.Content()); diff != "" {
			c.t.Fatalf("%s and %s have equal vectors and differ:\n%s", members[0].Name, m.Name, diff)
		}
	}
}

// CheckPromise fails the test if two running members that have applied the same
// versions under the same schema differ in rows or clocks. It can be called at
// any moment of a scenario.
func (c *Cluster) CheckPromise() {
	c.t.Helper()
	synctest.Wait()
	type state struct{ vector, schema [32]byte }
	first := map[state]*Member{}
	for _, m := range c.Running() {
		s := state{m.Node().Store().Vector().Digest(), m.Node().Store().SchemaDigest()}
		if o := first[s]; o == nil {
			first[s] = m
		} else if diff := o.Content().Diff(m.Content()); diff != "" {
			c.t.Fatalf("%s and %s have equal vectors and differ:\n%s", o.Name, m.Name, diff)
		}
	}
}

// AwaitMembers waits until every running member sees every other one as alive,
// and is linked to it.
func (c *Cluster) AwaitMembers(limit time.Duration) time.Duration {
	c.t.Helper()
	return c.Await("everybody alive for everybody", limit, func() bool {
		running := c.Running()
		for _, m := range running {
			for _, o := range running {
				if m != o && m.StateOf(o) != "alive" {
					return false
				}
			}
		}
		return true
	})
}

// StateOf returns how m's membership sees the running member o, "" if not at all.
func (m *Member) StateOf(o *Member) string {
	actor := o.Actor()
	for _, member := range m.Node().Status().Members {
		if member.Actor == actor {
			return member.State
		}
	}
	return ""
}

// Query returns the rows of one statement as SQL literals, columns parted by |
// and rows by line ends.
func (m *Member) Query(sql string) string {
	m.cluster.t.Helper()
	var r rowLines
	if err := m.Node().Store().Query(context.Background(), sqlite.Statement{SQL: sql}, &r); err != nil {
		m.cluster.t.Fatalf("%s: %q: %v", m.Name, sql, err)
	}
	return strings.Join(r, "\n")
}

// CheckQuery fails the test unless every running member answers a statement as
// wanted.
func (c *Cluster) CheckQuery(sql, want string) {
	c.t.Helper()
	for _, m := range c.Running() {
		if got := m.Query(sql); got != want {
			c.t.Fatalf("%s: %s is\n%s\nwant\n%s", m.Name, sql, got, want)
		}
	}
}

type rowLines []string

// Columns implements sqlite.RowSink.
func (r *rowLines) Columns([]string) error { return nil }

// Row implements sqlite.RowSink.
func (r *rowLines) Row(values []sqlite.Value) error {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = v.String()
	}
	*r = append(*r, strings.Join(cells, "|"))
	return nil
}

// describe prints what each member has, for failures.
func (c *Cluster) describe() string {
	var b strings.Builder
	for _, m := range c.members {
		n := m.Node()
		if n == nil {
			fmt.Fprintf(&b, "%s does not run\n", m.Name)
			continue
		}
		status := n.Status()
		fmt.Fprintf(&b, "%s %v vector %.8s schema %.8s", m.Name, status.Actor, status.VectorDigest, status.SchemaDigest)
		v := n.Store().Vector()
		for _, actor := range v.Actors() {
			e := v.Entry(actor)
			fmt.Fprintf(&b, "\n   %v applied %v parked %v head %.8s", actor, e.Applied.Ranges(), e.Parked.Ranges(), e.Head)
		}
		var states []string
		for _, o := range status.Members {
			states = append(states, fmt.Sprintf("%.8s %s", o.Actor, o.State))
		}
		slices.Sort(states)
		fmt.Fprintf(&b, "\n   sees %v\n", states)
	}
	return b.String()
}
