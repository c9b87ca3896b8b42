package broadcast

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
)

// t0 is when the tests begin.
var t0 = time.Unix(1_000_000, 0)

// testActor returns the actor that traces call by a letter: 'A' and so on.
func testActor(letter byte) (a changeset.ActorID) { a[0], a[15] = letter, letter; return a }

// testItem returns an item of a size; version and hash go together unless told.
func testItem(letter byte, version, size int) Item {
	it := Item{Packed: make([]byte, size)}
	it.Actor, it.Version = testActor(letter), changeset.Version(version)
	it.Hash[0], it.Hash[1] = byte(version), byte(version>>8)
	return it
}

func sends(effects []Effect) (out []Send) {
	for _, e := range effects {
		if s, ok := e.(Send); ok {
			out = append(out, s)
		}
	}
	return out
}

// oldest returns the end of the oldest batch in flight to a peer.
func oldest(m *Machine, to changeset.ActorID) Sent {
	i, _ := m.find(to)
	return Sent{to, m.peers[i].flights[0].batch}
}

func machineWith(peers int, rtt func(i int) time.Duration) *Machine {
	m := NewMachine(MachineConfig{Self: testActor('Z'), Seed: 1})
	for i := range peers {
		m.Handle(t0, PeerUp{testActor(byte('a' + i)), rtt(i)})
	}
	return m
}

func near(int) time.Duration { return time.Millisecond }

func TestChoiceFillsTheBuckets(t *testing.T) {
	for _, tc := range []struct {
		desc           string
		near, mid, far int
		want           [3]int
	}{
		{"up to six peers get everything", 1, 1, 4, [3]int{1, 1, 4}},
		{"four near, one mid, one far", 10, 10, 10, [3]int{4, 1, 1}},
		{"only near", 10, 0, 0, [3]int{6, 0, 0}},
		{"only far", 0, 0, 10, [3]int{0, 0, 6}},
		{"no mid, its place goes to near", 10, 0, 1, [3]int{5, 0, 1}},
		{"near is short and there is no far, both places go to mid", 3, 5, 0, [3]int{3, 3, 0}},
	} {
		m := machineWith(tc.near+tc.mid+tc.far, func(i int) time.Duration {
			switch {
			case i < tc.near:
				return nearRTT - 1
			case i < tc.near+tc.mid:
				return midRTT - 1
			}
			return midRTT
		})
		for version := 1; version < 200; version++ {
			var got [3]int
			for _, p := range first(m.choose(testItem('Z', version, 10).ID(), m.cfg.Self, eagerPlaces)) {
				got[bucket(p.rtt)]++
			}
			if got != tc.want {
				t.Fatalf("%s: %v, want %v", tc.desc, got, tc.want)
			}
		}
	}
}

func TestChoiceIsStableAndSpread(t *testing.T) {
	m, other := machineWith(20, near), machineWith(20, near)
	reseeded := machineWith(20, near)
	reseeded.cfg.Seed = 2
	count := map[changeset.ActorID]int{}
	differs := 0
	for version := 1; version <= 1000; version++ {
		it := testItem('Z', version, 10)
		a, b, c := actors(m.choose(it.ID(), m.cfg.Self, eagerPlaces)), actors(other.choose(it.ID(), m.cfg.Self, eagerPlaces)), actors(reseeded.choose(it.ID(), m.cfg.Self, eagerPlaces))
		if len(a) != eagerPlaces.total() || !slices.Equal(a, b) {
			t.Fatalf("version %d: %v and %v", version, a, b)
		}
		if !slices.Equal(a, c) {
			differs++
		}
		for _, p := range a {
			count[p]++
		}
	}
	if differs < 900 {
		t.Errorf("another seed chose otherwise %d times of 1000", differs)
	}
	for a, n := range count {
		if n < 200 || n > 400 { // 300 on average
			t.Errorf("%c was chosen %d times of 1000", a[0], n)
		}
	}
}

func first(peers []*peer, _ bool) []*peer { return peers }

func actors(peers []*peer, _ bool) (out []changeset.ActorID) {
	for _, p := range peers {
		out = append(out, p.actor)
	}
	return out
}

func TestChoiceLeavesOutSenderAndOrigin(t *testing.T) {
	for _, peers := range []int{1, 2, 6, 7, 8, 20} {
		m := machineWith(peers, near)
		for version := 1; version < 100; version++ {
			it := testItem('a', version, 10)
			id := it.ID()
			from := testActor(byte('a' + version%peers))
			chosen, everybody := m.choose(id, from, eagerPlaces)
			others := peers - 1
			if from != id.Actor {
				others--
			}
			if want := min(eagerPlaces.total(), others); len(chosen) != want || everybody != (want == others) {
				t.Fatalf("%d peers: %d chosen, everybody: %v, want %d of %d", peers, len(chosen), everybody, want, others)
			}
			for _, p := range chosen {
				if p.actor == from || p.actor == id.Actor {
					t.Fatalf("%d peers: sender or origin chosen", peers)
				}
			}
		}
	}
}

func TestRingReachesEverybody(t *testing.T) {
	const nodes = 30
	it := testItem('a', 7, 10)
	id := it.ID()
	var all []*Machine
	for i := range nodes {
		m := NewMachine(MachineConfig{Self: testActor(byte('a' + i)), Seed: uint64(i + 1)})
		for j := range nodes {
			m.Handle(t0, PeerUp{Peer: testActor(byte('a' + j))})
		}
		all = append(all, m)
	}
	at, steps := 0, 0
	for seen := map[int]bool{}; !seen[at]; steps++ {
		seen[at] = true
		at = int(all[at].successor(id).actor[0] - 'a')
	}
	if at != 0 || steps != nodes {
		t.Errorf("the ring has %d nodes", steps)
	}
	m := all[5]
	next := m.successor(id)
	if next.actor != id.Actor && !slices.Contains(first(m.choose(it.ID(), m.cfg.Self, eagerPlaces)), next) {
		t.Error("the successor is not chosen")
	}
}

func TestQueueDropsItsOldestOnly(t *testing.T) {
	m := machineWith(2, near)
	slow, fast := testActor('a'), testActor('b')
	const total = QueueItems + 11
	for version := 1; version <= total; version++ {
		for _, s := range sends(m.Handle(t0, Local{testItem('Z', version, 10)})) {
			if s.To == fast {
				m.Handle(t0, Sent{fast, s.Batch})
			}
		}
	}
	// One is in flight to the slow peer, 1024 wait, ten were lost.
	q := m.Queues()
	if q[0].Depth != QueueItems || q[0].Dropped != 10 || q[1].Depth != 0 || q[1].Dropped != 0 {
		t.Fatalf("%+v", q)
	}
	next := sends(m.Handle(t0, oldest(m, slow)))[0].Items
	if next[0].Version != 12 || next[len(next)-1].Version != total {
		t.Errorf("after the first comes %d to %d", next[0].Version, next[len(next)-1].Version)
	}
	if c := m.Counters(); c.Dropped != 10 || c.Sent != total+1 || c.Queued != 2*total {
		t.Errorf("%+v", c)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	m := machineWith(1, near)
	for version := 1; version <= MaxFlights+5; version++ {
		m.Handle(t0, Local{testItem('Z', version, QueueBytes/4)})
	}
	if q := m.Queues()[0]; q.Depth != 4 || q.Bytes != QueueBytes || q.Dropped != 1 {
		t.Errorf("%+v", q)
	}
	m.Handle(t0, Local{testItem('Z', 100, 2*QueueBytes)})
	if q := m.Queues()[0]; q.Depth != 1 || q.Bytes != 2*QueueBytes || q.Dropped != 5 {
		t.Errorf("with an item larger than the queue: %+v", q)
	}
	if s := sends(m.Handle(t0, oldest(m, testActor('a')))); len(s) != 1 || len(s[0].Items) != 1 {
		t.Errorf("it does not travel: %v", s)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	m := machineWith(1, near)
	got := ""
	note := func(effects []Effect) {
		for _, s := range sends(effects) {
			got += fmt.Sprint(len(s.Items), " ")
		}
	}
	for version, size := range []int{1, BatchBytes / 2, BatchBytes / 2, 1, BatchBytes + 1, 1, 1} {
		note(m.Handle(t0, Local{testItem('Z', version+1, size)}))
	}
	for len(m.peers[0].flights) > 0 {
		note(m.Handle(t0, oldest(m, testActor('a'))))
	}
	if got != "1 2 1 1 2 " {
		t.Errorf("batches of %s", got)
	}
}

// TestStuckBatchDelaysOthersByCoalesce shows the second place of MaxFlights, and that
// there is no third.
func TestStuckBatchDelaysOthersByCoalesce(t *testing.T) {
	m := machineWith(2, near)
	stuck, fast := testActor('a'), testActor('b')
	write := func(now time.Time, version int) (toStuck int) {
		for _, s := range sends(m.Handle(now, Local{testItem('Z', version, 10)})) {
			if s.To == fast {
				m.Handle(now, Sent{fast, s.Batch})
			} else {
				toStuck++
			}
		}
		return toStuck
	}
	if write(t0, 1) != 1 {
		t.Fatal("the first was held back")
	}
	began := t0.Add(time.Millisecond)
	for i := range 9 {
		if write(began.Add(time.Duration(i)*time.Millisecond), 2+i) != 0 {
			t.Fatalf("version %d was not gathered", 2+i)
		}
	}
	if next := m.Next(); !next.Equal(began.Add(Coalesce)) {
		t.Errorf("a tick after %v", next.Sub(began))
	}
	out := sends(m.Handle(began.Add(Coalesce), Tick{}))
	if len(out) != 1 || out[0].To != stuck || len(out[0].Items) != 9 {
		t.Errorf("after the time: %d batches", len(out))
	}
	for i := range 20 {
		if write(began.Add(Coalesce), 100+i) != 0 {
			t.Error("a third batch")
		}
	}
	if next := m.Next(); !next.IsZero() {
		t.Errorf("a tick at %v, for nothing", next)
	}
	m.Handle(began.Add(2*Coalesce), Tick{})
	// The end of a batch that was counted already is not another's.
	if m.Handle(began, Sent{stuck, out[0].Batch + 1000}); len(m.peers[0].flights) != MaxFlights {
		t.Errorf("%d in flight", len(m.peers[0].flights))
	}
	if out := sends(m.Handle(began.Add(2*Coalesce), Sent{stuck, out[0].Batch})); len(out) != 1 || len(out[0].Items) != 20 {
		t.Errorf("what waited does not leave: %d batches", len(out))
	}
}

func TestSeenSetForgetsTheOldest(t *testing.T) {
	s := newSeenSet(3)
	id := func(v int) changeset.ID { return changeset.ID{Version: changeset.Version(v)} }
	for v := 1; v <= 3; v++ {
		if !s.add(id(v), changeset.Hash{}) || s.add(id(v), changeset.Hash{}) {
			t.Errorf("%d", v)
		}
	}
	if !s.add(id(3), changeset.Hash{1}) {
		t.Error("another hash of the same version is not new")
	}
	if !s.add(id(1), changeset.Hash{}) {
		t.Error("the oldest was not forgotten")
	}
	if s.add(id(3), changeset.Hash{}) || len(s.keys) != 3 {
		t.Errorf("a younger one was forgotten, or %d are kept", len(s.keys))
	}
}

// TestHostileAnnouncements cost bounded memory, and what a peer announces costs the
// others no room.
func TestHostileAnnouncements(t *testing.T) {
	m := machineWith(8, near)
	hostile, honest := testActor('a'), testActor('b')
	for batch := range 20 {
		var ids []changeset.ID
		for i := range 2 * MaxIDs {
			ids = append(ids, changeset.ID{Actor: testActor('x'), Version: changeset.Version(1 + batch*2*MaxIDs + i)})
		}
		m.Handle(t0, Announced{hostile, ids})
	}
	if n := len(m.missing.list); n != PeerMissing || len(m.missing.byID) != n {
		t.Errorf("%d changesets are missing", n)
	}
	m.Handle(t0, Announced{honest, []changeset.ID{{Actor: testActor('y'), Version: 1}}})
	out := sends(m.Handle(t0.Add(pullDelay), Tick{}))
	if len(out) != 2 || len(out[0].Want) != PeerMissing || out[1].To != honest || len(out[1].Want) != 1 {
		t.Errorf("asked %d peers", len(out))
	}
	now := t0
	for range 10 {
		if now = m.Next(); now.IsZero() {
			break
		}
		m.Handle(now, Tick{})
	}
	if len(m.missing.list) != 0 || len(m.missing.byID) != 0 || m.peers[0].missing != 0 || m.Counters().GivenUp != PeerMissing+1 {
		t.Errorf("%d are left, %d of the peer, %+v", len(m.missing.list), m.peers[0].missing, m.Counters())
	}
	if !now.IsZero() {
		t.Errorf("a tick at %v, for nothing", now)
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := newRecent()
	for version := range 2 * RecentItems {
		r.add(t0, testItem('Z', version+1, 1))
	}
	if len(r.list) != RecentItems || len(r.byID) != RecentItems || r.bytes != RecentItems {
		t.Errorf("%d items of %d bytes", len(r.list), r.bytes)
	}
	r.add(t0, testItem('Z', 1, RecentBytes-2))
	if len(r.list) != 3 || r.bytes != RecentBytes {
		t.Errorf("%d items of %d bytes beside a large one", len(r.list), r.bytes)
	}
	r.add(t0.Add(1), testItem('Z', 2, 2*RecentBytes))
	if _, ok := r.get(changeset.ID{Actor: testActor('Z'), Version: 2}); !ok || len(r.list) != 1 {
		t.Errorf("%d items, the last is there: %v", len(r.list), ok)
	}
	r.expire(t0.Add(RecentFor))
	if len(r.list) != 1 {
		t.Error("it went too early")
	}
	if r.expire(t0.Add(RecentFor + 1)); len(r.list) != 0 || len(r.byID) != 0 || r.bytes != 0 || !r.next().IsZero() {
		t.Errorf("%+v", r)
	}
}

// TestOldGoesWithTheNew: a stream of changesets needs no tick for each.
func TestOldGoesWithTheNew(t *testing.T) {
	r := newRecent()
	for i := range 20 {
		now := t0.Add(time.Duration(i) * RecentFor / 10)
		r.add(now, testItem('Z', i+1, 100))
		if want := min(i+1, 10); len(r.list) != want || len(r.byID) != want || r.bytes != 100*want {
			t.Fatalf("after %d: %d items of %d bytes", i+1, len(r.list), r.bytes)
		}
		if !r.next().Equal(now.Add(RecentFor)) {
			t.Fatalf("after %d: a tick at %v", i+1, r.next())
		}
	}
}

// TestRankIsThatOfWire: all nodes must draw the same ring.
func TestRankIsThatOfWire(t *testing.T) {
	actor := func(first, last byte) (a changeset.ActorID) { a[0], a[15] = first, last; return a }
	for _, tc := range []struct {
		seed uint64
		id   changeset.ID
		of   changeset.ActorID
		want uint64
	}{
		{0, changeset.ID{Actor: actor(1, 2), Version: 3}, actor(4, 5), 0xcf2f148565d77c87},
		{7, changeset.ID{Actor: actor(0xff, 0), Version: changeset.MaxVersion}, actor(0, 0xff), 0xae69f39330f9bc7},
	} {
		if got := rankingOf(tc.seed, tc.id).of(tc.of); got != tc.want {
			t.Errorf("rank(%d, %v, %v) = %x, want %x", tc.seed, tc.id, tc.of, got, tc.want)
		}
	}
}
