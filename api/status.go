package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/patinadb/patina/changeset"
)

// Digest is a 32-byte hash; in JSON lower-case hexadecimal.
type Digest [32]byte

// String returns lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) {
		return fmt.Errorf("api: a digest has %d hexadecimal digits, not %d", 2*len(d), len(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("api: read digest: %w", err)
	}
	return nil
}

// Status is a node's answer to GET /v1/status.
type Status struct {
	Actor   changeset.ActorID `json:"actor_id"`
	Cluster string            `json:"cluster"`
	Version string            `json:"version"`  // of the software
	Uptime  float64           `json:"uptime_s"` // seconds
	// Heads holds, for each actor, the highest version applied here.
	Heads map[changeset.ActorID]changeset.Version `json:"heads"`
	// VectorDigest is equal on two nodes exactly if their applied vectors are.
	VectorDigest Digest   `json:"vector_digest"`
	SchemaDigest Digest   `json:"schema_digest"`
	Members      []Member `json:"members"` // the node itself included
	Queues       []Queue  `json:"queues"`
	Parked       []Parked `json:"parked"`
	Forked       []Forked `json:"forked"`
	// Missing are versions that this node lacks and no peer has in its log any more.
	Missing []Missing `json:"missing"`
	// Unequal are peers that hold the same versions and other rows.
	Unequal []Unequal `json:"unequal"`
	// Filling says how far the transfer of another node\'s state into this one is.
	Filling string `json:"filling,omitempty"`
	WAL     WAL    `json:"wal"`
	Log     Log    `json:"log"`
	// Counters holds what should stay 0 or rare, since the start: links refused or
	// ended, by reason, and what the store found wrong. Those at 0 are left out.
	Counters map[string]uint64 `json:"counters,omitempty"`
	Ready    bool              `json:"ready"`
	NotReady string            `json:"not_ready,omitempty"` // why, when Ready is false
}

// Member is an actor as this node's membership sees it.
type Member struct {
	Actor   changeset.ActorID `json:"actor_id"`
	Addr    netip.AddrPort    `json:"addr"`
	APIAddr string            `json:"api_addr"`
	State   string            `json:"state"`  // alive, suspect, dead or left
	RTT     float64           `json:"rtt_ms"` // milliseconds; 0 for the node itself or when not known
	Link    *Link             `json:"link,omitempty"`
}

// Link is what there is of a live link to a member.
type Link struct {
	Loss     float64 `json:"loss"`      // share of packets lost of those sent to it in about the last minute, 0 to 1
	BytesIn  uint64  `json:"bytes_in"`  // UDP payload since it was linked
	BytesOut uint64  `json:"bytes_out"` // the same, retransmissions included
}

// Queue is the state of a bounded queue, or of a limit on requests.
type Queue struct {
	Name     string `json:"name"`
	Depth    int    `json:"depth"`
	Capacity int    `json:"capacity"`
	Dropped  uint64 `json:"dropped"` // since the start
}

// Parked names a changeset that is kept because it cannot be applied yet.
type Parked struct {
	Actor   changeset.ActorID `json:"actor"`
	Version changeset.Version `json:"version"`
	Reason  string            `json:"reason"`
}

// Forked names an actor under whose id two databases wrote, and what showed it.
type Forked struct {
	Actor  changeset.ActorID `json:"actor"`
	Reason string            `json:"reason"`
}

// Missing names versions of one actor, as ranges such as 1-90,95.
type Missing struct {
	Actor    changeset.ActorID `json:"actor"`
	Versions string            `json:"versions"`
	Count    uint64            `json:"count"`
}

// Unequal names a peer with which rows of some tables differ.
type Unequal struct {
	Peer   changeset.ActorID `json:"peer"`
	Tables []string          `json:"tables"` // names in small letters
	Since  string            `json:"since"`  // RFC 3339, UTC
}

// Log is the state of the log of changesets, kept to serve peers that were away.
type Log struct {
	Bytes  int64  `json:"bytes"`
	Pruned uint64 `json:"pruned"`         // changesets taken out since the start
	Held   string `json:"held,omitempty"` // why the log is beyond its bounds, if it stays there
}

// WAL is the state of SQLite's write-ahead log.
type WAL struct {
	Bytes int64 `json:"bytes"` // since it was last reset
	// OutsideRead is for how many seconds at least another process has been
	// reading what keeps the log from being reset.
	OutsideRead float64 `json:"outside_read_s,omitempty"`
	Refused     string  `json:"writes_refused,omitempty"` // why
	Failure     string  `json:"failure,omitempty"`        // of the last attempt to move it into the file
}

func (a *api) status(w http.ResponseWriter, r *http.Request) error {
	var s Status
	if a.Status != nil {
		s = a.Status()
	}
	if err := a.Ready(); err != nil {
		s.Ready, s.NotReady = false, err.Error()
	} else {
		s.Ready, s.NotReady = true, ""
	}
	if s.Heads == nil {
		s.Heads = map[changeset.ActorID]changeset.Version{}
	}
	s.Members = append([]Member{}, s.Members...)
	s.Queues = append(append([]Queue{}, s.Queues...), a.writes.queue(), a.reads.queue())
	s.Parked = append([]Parked{}, s.Parked...)
	s.Forked = append([]Forked{}, s.Forked...)
	s.Missing = append([]Missing{}, s.Missing...)
	s.Unequal = append([]Unequal{}, s.Unequal...)
	return a.replyJSON(w, s)
}

// readyz answers in plain text, for those who watch over processes.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) error {
	if err := a.Ready(); err != nil {
		w.Header().Set("Retry-After", "1")
		a.replyAs(w, http.StatusServiceUnavailable, typeText, []byte(err.Error()+"\n"))
		return nil
	}
	a.replyAs(w, http.StatusOK, typeText, []byte("ok\n"))
	return nil
}

// Reloaded is the answer to POST /v1/reload.
type Reloaded struct {
	Notes []string `json:"notes"` // such as the keys whose change needs a restart
}

// reload is for those on the same machine alone, who could as well send the
// process a SIGHUP: until there is authentication, loopback is the permission.
func (a *api) reload(w http.ResponseWriter, r *http.Request) error {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !peer.Addr().Unmap().IsLoopback() {
		return &requestError{http.StatusForbidden, "reload is accepted from loopback addresses only"}
	}
	if a.Reload == nil {
		return &requestError{http.StatusNotImplemented, "this node has nothing to reload"}
	}
	notes, err := a.Reload(r.Context())
	if err != nil {
		return blamed{http.StatusUnprocessableEntity, err}
	}
	return a.replyJSON(w, Reloaded{Notes: append([]string{}, notes...)})
}

func (a *api) replyJSON(w http.ResponseWriter, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	a.reply(w, http.StatusOK, b.Bytes())
	return nil
}
