package broadcast

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
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
//	up PEER RTT          local VERSION SIZE       sent PEER
//	down PEER            recv FROM ORIGIN/VERSION SIZE [HASH]
//	failed PEER          counters
//
// Actors are letters; the machine is Z.
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
	m := NewMachine(testActor('Z'), 1)
	var out strings.Builder
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
		default:
			ev, err := parseEvent(words)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			for _, e := range m.Handle(ev) {
				fmt.Fprintf(&out, "  %s\n", showEffect(e))
			}
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
	case name == "sent":
		return Sent{peer}, nil
	case name == "failed":
		return Failed{peer}, nil
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
		s := fmt.Sprintf("send %c", e.To[0])
		for _, it := range e.Items {
			s += fmt.Sprintf(" %c/%d", it.Actor[0], it.Version)
		}
		return s
	case Deliver:
		return fmt.Sprintf("deliver %c/%d", e.Item.Actor[0], e.Item.Version)
	}
	return fmt.Sprintf("%T", e)
}
