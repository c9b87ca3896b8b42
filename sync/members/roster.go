package members

import (
	"net/netip"
	"slices"
	"time"

	"github.com/patinadb/patina/changeset"
)

// How long the roster remembers. Dead members stay until this node restarts, since
// they are called again and again, unless there are too many: then the ones that
// died first go.
const (
	leftKept = time.Hour
	deadKept = 1024
)

// State is what membership thinks of a member.
type State string

// The states. Suspect is alive for all purposes but display; left said good-bye.
const (
	Alive   State = "alive"
	Suspect State = "suspect"
	Dead    State = "dead"
	Left    State = "left"
)

// Here reports whether a member in this state takes part.
func (s State) Here() bool { return s == Alive || s == Suspect }

// Member is an actor as membership sees it.
type Member struct {
	Actor   changeset.ActorID
	Epoch   uint64         // of its latest process that we heard of
	Addr    netip.AddrPort // that it advertises for links
	APIAddr string         // that it advertises for clients; "" if not known
	Version string         // of its software; "" if not known
	State   State
	RTT     time.Duration // smoothed over direct probes; 0 if not known
}

// Event says that a member is new or that something but its RTT changed.
type Event struct{ Member Member }

// row is an entry of the library's table.
type row struct {
	name  string
	addr  netip.AddrPort
	meta  []byte
	state State
}

// roster holds every actor once. Invariants: a record's epoch never falls; who the
// library suspects or holds dead is shown alive while the link to it brings
// something.
type roster struct {
	self    Member
	records map[changeset.ActorID]*record
}

type record struct {
	Member
	since time.Time // of the state
	heard State     // what the library says, which a live link may refute
}

func newRoster(self Member) *roster {
	return &roster{self: self, records: map[changeset.ActorID]*record{}}
}

// heard returns the latest process of each other actor in the library's table.
func (r *roster) heard(rows []row) map[changeset.ActorID]Member {
	heard := map[changeset.ActorID]Member{}
	for _, w := range rows {
		m, ok := w.member()
		if !ok || m.Actor == r.self.Actor {
			continue
		}
		if best, ok := heard[m.Actor]; !ok || m.Epoch > best.Epoch {
			heard[m.Actor] = m
		}
	}
	return heard
}

// doubted returns the actors about whom a live link should be asked, before the
// table is taken over.
func (r *roster) doubted(rows []row) (out []changeset.ActorID) {
	heard := r.heard(rows)
	for actor, m := range heard {
		if m.State == Suspect || m.State == Dead {
			out = append(out, actor)
		}
	}
	for actor, rec := range r.records {
		if _, ok := heard[actor]; !ok && rec.heard != Left {
			out = append(out, actor)
		}
	}
	return out
}

// refuted returns the addresses of those whom the library holds dead, or has
// forgotten, and a live link does not.
func (r *roster) refuted() (out []netip.AddrPort) {
	for _, rec := range r.records {
		if rec.heard == Dead && rec.State.Here() {
			out = append(out, rec.Addr)
		}
	}
	return out
}

// update takes the library's whole table and returns what changed, sorted by
// actor. The table forgets the dead after a while; the roster does not. alive are
// those whose links say so.
func (r *roster) update(rows []row, alive map[changeset.ActorID]bool, now time.Time) []Event {
	heard := r.heard(rows)
	var events []Event
	for actor, m := range heard {
		rec := r.records[actor]
		switch {
		case rec == nil:
			rec = &record{since: now}
			r.records[actor] = rec
		case m.Epoch < rec.Epoch:
			m = rec.Member
			if m.State.Here() {
				m.State = Dead
			}
		}
		rec.heard = m.State
		if alive[actor] && (m.State == Suspect || m.State == Dead) {
			m.State = Alive
		}
		m.RTT = rec.RTT
		if rec.Member != m {
			if rec.State != m.State {
				rec.since = now
			}
			rec.Member = m
			events = append(events, Event{m})
		}
	}
	for actor, rec := range r.records {
		if _, ok := heard[actor]; ok || rec.State == Left {
			continue
		}
		rec.heard = Dead
		state := Dead
		if alive[actor] {
			state = Alive
		}
		if rec.State != state {
			rec.State, rec.since = state, now
			events = append(events, Event{rec.Member})
		}
	}
	r.forget(now)
	slices.SortFunc(events, func(a, b Event) int { return a.Member.Actor.Compare(b.Member.Actor) })
	return events
}

// member reads a row; a name that no node of ours has is not a member. Meta data
// that cannot be read costs the API address only: a newer node may write more.
func (w row) member() (Member, bool) {
	actor, epoch, ok := parseName(w.name)
	if !ok {
		return Member{}, false
	}
	m := Member{Actor: actor, Epoch: epoch, Addr: w.addr, State: w.state}
	if info, err := decodeMeta(w.meta); err == nil && info.actor == actor {
		m.APIAddr, m.Version = info.apiAddr, info.software
	}
	return m, true
}

func (r *roster) forget(now time.Time) {
	var dead []*record
	for actor, rec := range r.records {
		switch {
		case rec.State == Left && now.Sub(rec.since) > leftKept:
			delete(r.records, actor)
		case rec.State == Dead:
			dead = append(dead, rec)
		}
	}
	if len(dead) <= deadKept {
		return
	}
	slices.SortFunc(dead, func(a, b *record) int { return a.since.Compare(b.since) })
	for _, rec := range dead[:len(dead)-deadKept] {
		delete(r.records, rec.Actor)
	}
}

// admits reports whether a process of an actor may be a member: it is not a
// stranger under our own id, and no later process of that actor is known.
func (r *roster) admits(actor changeset.ActorID, epoch uint64) bool {
	if actor == r.self.Actor {
		return epoch == r.self.Epoch
	}
	rec := r.records[actor]
	return rec == nil || epoch >= rec.Epoch
}

// measured adds one round-trip time, smoothed as in RFC 6298, but downwards faster:
// the first one may hold the making of the link.
func (r *roster) measured(actor changeset.ActorID, rtt time.Duration) {
	rec := r.records[actor]
	switch {
	case rec == nil || rtt <= 0:
	case rec.RTT == 0:
		rec.RTT = rtt
	case rtt < rec.RTT:
		rec.RTT -= (rec.RTT - rtt) / 2
	default:
		rec.RTT += (rtt - rec.RTT) / 8
	}
}

// list returns all members, self included, sorted by actor.
func (r *roster) list() []Member {
	out := make([]Member, 0, len(r.records)+1)
	out = append(out, r.self)
	for _, rec := range r.records {
		out = append(out, rec.Member)
	}
	slices.SortFunc(out, func(a, b Member) int { return a.Actor.Compare(b.Actor) })
	return out
}

// company reports whether another member is here.
func (r *roster) company() bool {
	for _, rec := range r.records {
		if rec.State.Here() {
			return true
		}
	}
	return false
}

// absent returns the addresses worth calling: those of the dead, and those of
// seeds, where no member lives that is here.
func (r *roster) absent(seeds []netip.AddrPort) []netip.AddrPort {
	taken := map[netip.AddrPort]bool{r.self.Addr: true}
	for _, rec := range r.records {
		if rec.heard.Here() {
			taken[rec.Addr] = true
		}
	}
	var out []netip.AddrPort
	add := func(a netip.AddrPort) {
		if !taken[a] {
			taken[a] = true
			out = append(out, a)
		}
	}
	for _, rec := range r.records {
		if rec.heard == Dead {
			add(rec.Addr)
		}
	}
	for _, a := range seeds {
		add(a)
	}
	return out
}
