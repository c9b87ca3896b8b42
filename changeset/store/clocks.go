package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
)

// A stored clock is a uvarint causal length, then its groups, each a column set
// and a stamp. A column set {0 … n-1} is the uvarint n<<1; any other is the
// uvarint bytes<<1|1 and a little-endian bitmap. There is no "all columns": a
// column added later is covered by no earlier stamp. A stamp is 8 bytes of time,
// the actor's ordinal and the version. The usual clock takes 13 bytes. Where
// clocks go by rowid, 8 bytes of the key's hash come first (rowclock.go).

func (t *actorTable) appendClock(b []byte, k *changeset.Clock) []byte {
	b = binary.AppendUvarint(b, uint64(k.CausalLength))
	for _, g := range k.Groups {
		b = changeset.AppendColumnSet(b, g.Columns)
		b = t.appendStamp(b, g.Stamp)
	}
	return b
}

// maxColumns is above SQLite's own limit for a table (SQLITE_MAX_COLUMN).
const maxColumns = 32767

// errDamaged: an internal table here holds what we did not write. It is not
// changeset.ErrCorrupt, which would be the fault of the peer that sent something.
var errDamaged = errors.New("damaged")

// decodeClock reads a stored clock into k, whose groups it reuses.
func (t *actorTable) decodeClock(b []byte, k *changeset.Clock) error {
	k.Groups = k.Groups[:0]
	r := clockReader{b: b}
	k.CausalLength = changeset.CausalLength(r.uvarint())
	for len(r.b) > 0 && !r.bad {
		g := changeset.Group{Columns: r.columns()}
		g.Stamp.Time = hlc.Timestamp(r.uint64())
		ord := r.uvarint()
		g.Stamp.Version = changeset.Version(r.uvarint())
		if ord >= uint64(len(t.ids)) {
			r.bad = true
			break
		}
		g.Stamp.Actor = t.ids[ord]
		k.Groups = append(k.Groups, g)
	}
	if r.bad || k.CausalLength == 0 || len(k.Groups) == 0 {
		return fmt.Errorf("row clock x'%x': %w", b, errDamaged)
	}
	return nil
}

type clockReader struct {
	b   []byte
	bad bool
}

func (r *clockReader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *clockReader) take(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *clockReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *clockReader) columns() (s changeset.ColumnSet) {
	x := r.uvarint()
	if x>>1 > maxColumns {
		r.bad, r.b = true, nil
		return s
	}
	if x&1 == 0 {
		return changeset.FirstColumns(int(x >> 1))
	}
	for i, octet := range r.take(x >> 1) {
		for j := range 8 {
			if octet>>j&1 != 0 {
				s = s.With(i*8 + j)
			}
		}
	}
	return s
}
