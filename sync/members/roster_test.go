package members

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

func testRoster() *roster {
	return newRoster(Member{Actor: testActor(9), Epoch: 4, Addr: testAddr(9), State: Alive})
}

func testRow(i int, epoch uint64, state State) row {
	return row{formatName(testActor(i), epoch), testAddr(i), appendMeta(nil, meta{testActor(i), 1, "api", "v"}), state}
}

// show prints what a roster lists, self left out.
func show(r *roster) string {
	s := ""
	for _, m := range r.list() {
		if m.Actor != r.self.Actor {
			s += fmt.Sprintf("%d.%d %s; ", m.Actor[0], m.Epoch, m.State)
		}
	}
	return s
}

func TestRosterFollowsTheTable(t *testing.T) {
	for _, tc := range []struct {
		desc   string
		tables [][]row
		want   string
		events int // of the last table
	}{
		{"new members", [][]row{{testRow(2, 1, Alive), testRow(1, 1, Suspect)}}, "1.1 suspect; 2.1 alive; ", 2},
		{"no change, no event", [][]row{{testRow(1, 1, Alive)}, {testRow(1, 1, Alive)}}, "1.1 alive; ", 0},
		{"the highest epoch counts, in any order", [][]row{{testRow(1, 3, Alive), testRow(1, 2, Suspect)}}, "1.3 alive; ", 1},
		{"even if the later process is dead", [][]row{{testRow(1, 3, Dead), testRow(1, 2, Alive)}}, "1.3 dead; ", 1},
		{"a later process supersedes a dead one", [][]row{{testRow(1, 1, Dead)}, {testRow(1, 1, Dead), testRow(1, 2, Alive)}}, "1.2 alive; ", 1},
		{"the old name that dies later changes nothing", [][]row{{testRow(1, 1, Alive), testRow(1, 2, Alive)}, {testRow(1, 1, Dead), testRow(1, 2, Alive)}}, "1.2 alive; ", 0},
		{"epochs never fall", [][]row{{testRow(1, 2, Dead)}, {testRow(1, 1, Alive)}}, "1.2 dead; ", 0},
		{"an epoch that fell while it was alive is a death", [][]row{{testRow(1, 2, Alive)}, {testRow(1, 1, Alive)}}, "1.2 dead; ", 1},
		{"what the table forgets stays dead", [][]row{{testRow(1, 1, Dead)}, {}}, "1.1 dead; ", 0},
		{"what the table forgets stays left", [][]row{{testRow(1, 1, Left)}, {}}, "1.1 left; ", 0},
		{"who vanishes alive is dead", [][]row{{testRow(1, 1, Alive)}, {}}, "1.1 dead; ", 1},
		{"our own id is ourselves", [][]row{{testRow(9, 5, Alive)}}, "", 0},
		{"strange names are nobody", [][]row{{{name: "host-1", state: Alive}, {name: testActor(1).String() + ".01", state: Alive}}}, "", 0},
	} {
		r := testRoster()
		var events []Event
		for _, rows := range tc.tables {
			events = r.update(rows, nil, time.Unix(0, 0))
		}
		if got := show(r); got != tc.want || len(events) != tc.events {
			t.Errorf("%s: %q and %d events, want %q and %d", tc.desc, got, len(events), tc.want, tc.events)
		}
	}
}

// A link that lives refutes suspicion and death, not a good-bye; when it falls
// silent, the library is right.
func TestRosterBelievesLiveLinks(t *testing.T) {
	linked := map[changeset.ActorID]bool{testActor(1): true}
	r := testRoster()
	for _, step := range []struct {
		desc    string
		rows    []row
		alive   map[changeset.ActorID]bool
		want    string
		refuted int
	}{
		{"suspect and linked", []row{testRow(1, 1, Suspect), testRow(2, 1, Suspect)}, linked, "1.1 alive; 2.1 suspect; ", 0},
		{"dead and linked", []row{testRow(1, 1, Dead), testRow(2, 1, Dead)}, linked, "1.1 alive; 2.1 dead; ", 1},
		{"forgotten and linked", nil, linked, "1.1 alive; 2.1 dead; ", 1},
		{"forgotten", nil, nil, "1.1 dead; 2.1 dead; ", 0},
		{"linked again", nil, linked, "1.1 alive; 2.1 dead; ", 1},
		{"seen again", []row{testRow(1, 1, Alive)}, nil, "1.1 alive; 2.1 dead; ", 0},
		{"left", []row{testRow(1, 1, Left)}, linked, "1.1 left; 2.1 dead; ", 0},
		{"left and forgotten", nil, linked, "1.1 left; 2.1 dead; ", 0},
	} {
		for _, actor := range r.doubted(step.rows) {
			if step.alive[actor] && actor != testActor(1) {
				t.Errorf("%s: %v is asked about", step.desc, actor)
			}
		}
		r.update(step.rows, step.alive, time.Unix(0, 0))
		if got := show(r); got != step.want || len(r.refuted()) != step.refuted {
			t.Errorf("%s: %q, %d refuted; want %q, %d", step.desc, got, len(r.refuted()), step.want, step.refuted)
		}
	}
}

func TestRosterKeepsMembersWithUnreadableMeta(t *testing.T) {
	r := testRoster()
	newer := testRow(1, 1, Alive)
	newer.meta = []byte{metaVersion + 1, 1, 2, 3}
	foreign := testRow(2, 1, Alive)
	foreign.meta = appendMeta(nil, meta{testActor(3), 1, "api", "v"})
	r.update([]row{newer, foreign}, nil, time.Unix(0, 0))
	for _, m := range r.list() {
		if m.APIAddr != "" {
			t.Errorf("%+v has an API address", m)
		}
	}
	if show(r) != "1.1 alive; 2.1 alive; " {
		t.Error(show(r))
	}
}

func TestRosterForgets(t *testing.T) {
	r := testRoster()
	start := time.Unix(0, 0)
	r.update([]row{testRow(1, 1, Left), testRow(2, 1, Dead), testRow(3, 1, Alive)}, nil, start)
	r.update([]row{testRow(3, 1, Alive)}, nil, start.Add(leftKept))
	if show(r) != "1.1 left; 2.1 dead; 3.1 alive; " {
		t.Error("after an hour:", show(r))
	}
	r.update([]row{testRow(3, 1, Alive)}, nil, start.Add(leftKept+1))
	if show(r) != "2.1 dead; 3.1 alive; " {
		t.Error("after more than an hour:", show(r))
	}
	for i := range deadKept + 10 { // each of them dies after the ones before
		var a changeset.ActorID
		a[0], a[1], a[2], a[3] = 8, byte(i>>8), byte(i), 1
		r.update([]row{testRow(3, 1, Alive), {formatName(a, 1), testAddr(8), nil, Dead}}, nil, start.Add(leftKept+time.Duration(i+2)))
	}
	if n := len(r.list()); n != deadKept+2 {
		t.Errorf("%d are listed", n)
	}
	if r.records[testActor(2)] != nil {
		t.Error("who died first is still there")
	}
	if r.records[testActor(3)] == nil {
		t.Error("the living were forgotten")
	}
}

func TestRosterCallsTheAbsentOnly(t *testing.T) {
	r := testRoster()
	r.update([]row{testRow(1, 1, Left), testRow(2, 1, Dead), testRow(3, 1, Alive), testRow(4, 1, Suspect)}, nil, time.Unix(0, 0))
	got := r.absent([]netip.AddrPort{testAddr(9), testAddr(3), testAddr(4), testAddr(5), testAddr(5), testAddr(2)})
	if !slices.Equal(got, []netip.AddrPort{testAddr(2), testAddr(5)}) {
		t.Error(got)
	}
	if !r.company() {
		t.Error("in company of two it is alone")
	}
	r.update(nil, nil, time.Unix(0, 0))
	if r.company() {
		t.Error("alone it is in company")
	}
}

func TestRosterAdmits(t *testing.T) {
	r := testRoster()
	r.update([]row{testRow(1, 5, Alive)}, nil, time.Unix(0, 0))
	for _, tc := range []struct {
		actor int
		epoch uint64
		want  bool
	}{{1, 4, false}, {1, 5, true}, {1, 6, true}, {2, 1, true}, {9, 3, false}, {9, 4, true}, {9, 5, false}} {
		if got := r.admits(testActor(tc.actor), tc.epoch); got != tc.want {
			t.Errorf("%d.%d: %v", tc.actor, tc.epoch, got)
		}
	}
}

func TestRosterSmoothsRoundTrips(t *testing.T) {
	r := testRoster()
	r.measured(testActor(1), time.Second) // nobody
	r.update([]row{testRow(1, 1, Alive)}, nil, time.Unix(0, 0))
	for _, step := range []struct{ sample, want time.Duration }{{800, 800}, {0, 800}, {400, 600}, {680, 610}} {
		r.measured(testActor(1), step.sample)
		if got := r.records[testActor(1)].RTT; got != step.want {
			t.Errorf("after %d: %d, want %d", step.sample, got, step.want)
		}
	}
	if events := r.update([]row{testRow(1, 1, Alive)}, nil, time.Unix(0, 0)); len(events) > 0 || r.records[testActor(1)].RTT == 0 {
		t.Error("a round-trip time is an event, or lost at an update")
	}
}

func TestNamesHaveOneSpelling(t *testing.T) {
	id := testActor(0xab).String()
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{formatName(testActor(1), 1<<64-1), true}, {id + ".0", true}, {id + ".1", true},
		{"", false}, {id, false}, {id + ".", false}, {id + ".01", false}, {id + ".+1", false}, {id + ".-1", false}, {id + ".1.2", false},
		{id + ".18446744073709551616", false}, {"AB" + id[2:] + ".1", false}, {id[1:] + ".1", false},
	} {
		actor, epoch, ok := parseName(tc.name)
		if ok != tc.ok || ok && formatName(actor, epoch) != tc.name {
			t.Errorf("%q: %v", tc.name, ok)
		}
	}
}
