package broadcast

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

var rewrite = flag.Bool("rewrite", false, "write what the machines do into the traces in testdata")

// TestTraces runs the scripts in testdata. A line that is not indented is an event,
// and the indented ones below it are the effects. Events:
//
//	up PEER RTT          local VERSION SIZE       sent PEER: its oldest batch in flight
//	down PEER            recv FROM ORIGIN/VERSION SIZE [HASH]
//	failed PEER: its oldest batch in flight       counters
//	have PEER ID ...     want PEER ID ...
//	settle: all that is in flight was sent
//	pass DURATION, with a tick whenever one is due meanwhile
//
// Actors are letters; the machine is Z, and its store holds the versions of actor Y.
func TestTraces(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runTrace(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s: run with -rewrite and read the difference; got:\n%s", file, got)
			}
		})
	}
}

func runTrace(t *testing.T, script string) string {
	held := func(id changeset.ID) bool { return id.Actor == testActor('Y') }
	m := NewMachine(MachineConfig{Self: testActor('Z'), Seed: 1, Held: held})
	now := t0
	var out strings.Builder
	var flying []Sent
	do := func(ev Event) {
		for _, e := range m.Handle(now, ev) {
			fmt.Fprintf(&out, "  %s\n", showEffect(e))
			if s, ok := e.(Send); ok {
				flying = append(flying, Sent{s.To, s.Batch})
			}
		}
	}
	landed := func(to changeset.ActorID) Sent {
		i := slices.IndexFunc(flying, func(f Sent) bool { return f.To == to })
		if i < 0 {
			return Sent{To: to}
		}
		f := flying[i]
		flying = slices.Delete(flying, i, i+1)
		return f
	}
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line)
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "counters":
			fmt.Fprintf(&out, "  %+v\n", m.Counters())
		case words[0] == "settle":
			for len(flying) > 0 {
				do(landed(flying[0].To))
			}
		case words[0] == "sent" && len(words) == 2:
			do(landed(testActor(words[1][0])))
		case words[0] == "failed" && len(words) == 2:
			do(Failed(landed(testActor(words[1][0]))))
		case words[0] == "pass" && len(words) == 2:
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			end := now.Add(d)
			for at := m.Next(); !at.IsZero() && !at.After(end); at = m.Next() {
				now = at
				before := out.Len()
				if do(Tick{}); out.Len() > before {
					fmt.Fprintf(&out, "  at %v\n", now.Sub(t0))
				}
			}
			now = end
		default:
			ev, err := parseEvent(words)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			do(ev)
		}
	}
	return out.String()
}

func parseEvent(words []string) (Event, error) {
	name, args := words[0], words[1:]
	if len(args) == 0 {
		return nil, fmt.Errorf("no arguments")
	}
	peer := testActor(args[0][0])
	switch {
	case name == "up" && len(args) == 2:
		rtt, err := time.ParseDuration(args[1])
		return PeerUp{peer, rtt}, err
	case name == "down":
		return PeerDown{peer}, nil
	case name == "have":
		return Announced{peer, parseIDs(args[1:])}, nil
	case name == "want":
		return Wanted{peer, parseIDs(args[1:])}, nil
	case name == "local" && len(args) == 2:
		it, err := parseItem("Z/"+args[0], args[1])
		return Local{it}, err
	case name == "recv" && len(args) >= 3:
		it, err := parseItem(args[1], args[2])
		if len(args) == 4 {
			it.Hash = changeset.Hash{args[3][0]}
		}
		return Received{peer, it}, err
	}
	return nil, fmt.Errorf("no such event")
}

func parseIDs(words []string) (ids []changeset.ID) {
	for _, w := range words {
		version, _ := strconv.Atoi(w[2:])
		ids = append(ids, changeset.ID{Actor: testActor(w[0]), Version: changeset.Version(version)})
	}
	return ids
}

func showIDs(what string, ids []changeset.ID) string {
	s := ""
	for _, id := range ids {
		s += fmt.Sprintf(" %s %c/%d", what, id.Actor[0], id.Version)
	}
	return s
}

func parseItem(id, size string) (Item, error) {
	version, err := strconv.Atoi(id[2:])
	if err != nil {
		return Item{}, err
	}
	n, err := strconv.Atoi(size)
	return testItem(id[0], version, n), err
}

func showEffect(e Effect) string {
	switch e := e.(type) {
	case Send:
		s := fmt.Sprintf("send %c", e.To[0]) + showIDs("want", e.Want) + showIDs("have", e.Have)
		for _, it := range e.Items {
			s += fmt.Sprintf(" %c/%d", it.Actor[0], it.Version)
		}
		return s
	case Deliver:
		return fmt.Sprintf("deliver %c/%d", e.Item.Actor[0], e.Item.Version)
	}
	return fmt.Sprintf("%T", e)
}
