package antientropy

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

// TestTraces runs the scripts in testdata. A script is a sequence of blocks: a
// command, a line of dashes, and what the machine wants done then. Actors are
// small numbers; "1=1-5,7/9" is actor 1 with 1-5 and 7 applied, 9 parked.
func TestTraces(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".trace"), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runTrace(t, string(script))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got == string(script) {
				return
			}
			want, have := strings.Split(string(script), "\n"), strings.Split(got, "\n")
			for i := range want {
				if i >= len(have) || want[i] != have[i] {
					t.Fatalf("line %d differs, want %q; got\n%s", i+1, want[i], got)
				}
			}
		})
	}
}

// trace is a machine under a script.
type trace struct {
	t      *testing.T
	self   changeset.ActorID
	vector *versions.Vector
	m      *Machine
	start  time.Time
	now    time.Time
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// runTrace returns the script with its outputs replaced by the real ones.
func runTrace(t *testing.T, script string) string {
	tr := &trace{t: t, start: epoch, now: epoch, vector: versions.NewVector()}
	tr.reset(1)
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		for _, line := range strings.Split(block, "\n") {
			if line == "----" {
				break
			}
			fmt.Fprintln(&out, line)
			if line != "" && line[0] != '#' {
				fmt.Fprint(&out, "----\n", tr.run(strings.Fields(line)))
			}
		}
		fmt.Fprintln(&out)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (r *trace) reset(self int) {
	r.self = actor(self)
	r.m = NewMachine(MachineConfig{
		Self:   r.self,
		Vector: func() *versions.Vector { return r.vector },
		Rand:   rand.New(rand.NewPCG(1, 1)),
	}, r.now)
}

func (r *trace) run(args []string) string {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch args[0] {
	case "self":
		r.reset(number(arg(1)))
		return ""
	case "vector":
		r.vector = parseVector(args[1:])
		return ""
	case "tick":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			r.t.Fatal(err)
		}
		r.now = r.now.Add(d)
		return fmt.Sprintf("at %s\n", r.now.Sub(r.start)) + printEffects(r.m.Tick(r.now))
	case "wake":
		r.now = r.m.Wake()
		return fmt.Sprintf("at %s\n", r.now.Sub(r.start)) + printEffects(r.m.Tick(r.now))
	case "wait": // wakes that want nothing are passed over
		var effects []Effect
		for len(effects) == 0 {
			r.now = r.m.Wake()
			effects = r.m.Tick(r.now)
		}
		return fmt.Sprintf("at %s\n", r.now.Sub(r.start)) + printEffects(effects)
	case "stats":
		return printStats(r.m.Stats())
	case "unserved":
		var b strings.Builder
		for _, u := range r.m.Unserved() {
			fmt.Fprintf(&b, "peer %s: %s\n", name(u.Peer), printNeeds(u.Needs))
		}
		return b.String()
	}
	return printEffects(r.m.Handle(r.now, r.event(args, arg)))
}

func (r *trace) event(args []string, arg func(int) string) Event {
	peer := actor(number(arg(1)))
	id := SessionID(number(arg(1)))
	switch args[0] {
	case "peer-up":
		return PeerUp{peer}
	case "peer-down":
		return PeerDown{peer}
	case "probe":
		return Probe{peer, parseVector(args[2:]).Digest()}
	case "incoming":
		return Incoming{r.m.NewSession(), peer}
	case "opened":
		return Opened{id}
	case "recv":
		return Received{id, r.message(args[2:])}
	case "end":
		err := io.EOF
		if arg(2) != "" {
			err = errors.New(arg(2))
		}
		return Ended{id, err}
	case "fetched":
		return Fetched{id, number(arg(2)), parseIDs(args[3:])}
	case "progressed":
		return Progressed{id}
	case "flushed":
		return Flushed{id}
	case "applied":
		return Applied{id, map[string]error{"": nil, "corrupt": changeset.ErrCorrupt, "full": errors.New("disk full")}[arg(2)]}
	case "failed":
		return Failed{id, errors.New(arg(2))}
	case "sendfailed":
		return SendFailed{id, errors.New(arg(2))}
	case "malformed":
		return Failed{id, &PeerFault{"frame of type 9", changeset.ErrUnsupported}}
	}
	r.t.Fatalf("unknown command %q", args)
	return nil
}

func (r *trace) message(args []string) Message {
	switch args[0] {
	case "digest":
		return Digest(parseVector(args[1:]).FullDigest())
	case "vector":
		return Vector{parseVector(args[1:])}
	case "changeset":
		id := parseIDs(args[1:2])[0]
		size := 100
		if len(args) > 2 {
			size = number(args[2])
		}
		return Changeset{fakeChangeset(id, size)}
	case "notinlog":
		var n NotInLog
		v := parseVector(args[1:])
		for _, a := range v.Actors() {
			n = append(n, versions.Need{Actor: a, Ranges: v.Entry(a).Applied.Ranges()})
		}
		return n
	case "part":
		return Part{1000}
	case "done":
		return Done{}
	case "busy":
		return Busy{}
	}
	r.t.Fatalf("unknown message %q", args)
	return nil
}

func actor(n int) (a changeset.ActorID) {
	a[14], a[15] = byte(n>>8), byte(n)
	return a
}

func name(a changeset.ActorID) string { return strconv.Itoa(int(a[14])<<8 | int(a[15])) }

// zeros is the data of all fake changesets.
var zeros [1 << 20]byte

func fakeChangeset(id changeset.ID, size int) changeset.Sealed {
	return changeset.Sealed{Header: changeset.Header{Actor: id.Actor, Version: id.Version}, Data: zeros[:size]}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func parseRanges(s string) (set versions.Set) {
	for part := range strings.SplitSeq(s, ",") {
		if first, last, ok := strings.Cut(part, "-"); ok {
			set.Add(versions.Range{First: changeset.Version(number(first)), Last: changeset.Version(number(last))})
		} else if part != "" {
			set.Add(versions.Range{First: changeset.Version(number(part)), Last: changeset.Version(number(part))})
		}
	}
	return set
}

func parseVector(args []string) *versions.Vector {
	v := versions.NewVector()
	for _, arg := range args {
		who, what, _ := strings.Cut(arg, "=")
		applied, parked, _ := strings.Cut(what, "/")
		v.Put(actor(number(who)), versions.Entry{Applied: parseRanges(applied), Parked: parseRanges(parked)})
	}
	return v
}

// parseIDs reads "2:7" and "2:7-9".
func parseIDs(args []string) (ids []changeset.ID) {
	for _, arg := range args {
		who, what, _ := strings.Cut(arg, ":")
		for _, r := range parseRanges(what).Ranges() {
			for v := r.First; v <= r.Last; v++ {
				ids = append(ids, changeset.ID{Actor: actor(number(who)), Version: v})
			}
		}
	}
	return ids
}

func printEffects(effects []Effect) string {
	var b strings.Builder
	for _, e := range effects {
		fmt.Fprintln(&b, printEffect(e))
	}
	return b.String()
}

func printEffect(e Effect) string {
	switch e := e.(type) {
	case Open:
		return fmt.Sprintf("%d: open to %s", e.Session, name(e.Peer))
	case Send:
		return fmt.Sprintf("%d: send %s", e.Session, printMessage(e.Message))
	case Fetch:
		return fmt.Sprintf("%d: fetch %s", e.Session, printIDs(e.IDs))
	case CloseSend:
		return fmt.Sprintf("%d: close send", e.Session)
	case Read:
		return fmt.Sprintf("%d: read", e.Session)
	case Apply:
		var ids []changeset.ID
		for i := range e.Batch {
			ids = append(ids, e.Batch[i].ID())
		}
		return fmt.Sprintf("%d: apply %s", e.Session, printIDs(ids))
	case Hear:
		return fmt.Sprintf("%s holds: %s", name(e.Peer), printVector(e.Vector))
	case Close:
		if e.Code == CodeNone {
			return fmt.Sprintf("%d: end", e.Session)
		}
		return fmt.Sprintf("%d: cancel %s: %v", e.Session, e.Code, e.Err)
	}
	return fmt.Sprintf("unknown effect %T", e)
}

func printMessage(m Message) string {
	switch m := m.(type) {
	case Digest:
		return "digest"
	case Vector:
		return "vector " + printVector(m.Vector)
	case NotInLog:
		return "notinlog " + printNeeds(m)
	case Done:
		return "done"
	case Busy:
		return "busy"
	}
	return fmt.Sprintf("%T", m)
}

func printVector(v *versions.Vector) string {
	var parts []string
	for _, a := range v.Actors() {
		e := v.Entry(a)
		s := name(a) + "=" + e.Applied.String()
		if !e.Parked.IsEmpty() {
			s += "/" + e.Parked.String()
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func printNeeds(needs []versions.Need) string {
	var parts []string
	for _, n := range needs {
		parts = append(parts, name(n.Actor)+"="+versions.SetOf(n.Ranges...).String())
	}
	return strings.Join(parts, " ")
}

// printIDs joins what ascends or descends: "2:9 2:1-3 2:8".
func printIDs(ids []changeset.ID) string {
	var parts []string
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == (changeset.ID{Actor: ids[i].Actor, Version: ids[j].Version + 1}) {
			j++
		}
		parts = append(parts, name(ids[i].Actor)+":"+versions.Range{First: ids[i].Version, Last: ids[j].Version}.String())
		i = j + 1
	}
	return strings.Join(parts, " ")
}

func printStats(s Stats) string {
	var b strings.Builder
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			fmt.Fprintf(&b, "%s %v\n", v.Type().Field(i).Name, v.Field(i))
		}
	}
	return b.String()
}
