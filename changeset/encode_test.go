package changeset

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// rows returns a changeset of n inserted rows of six columns, keys ascending.
func rows(n int) *Changeset {
	c := &Changeset{Header: Header{Actor: ActorID{7, 1}, Version: 12, Time: hlc.Timestamp(1764028800000 << 16), Previous: Hash{1}}}
	t := TableChanges{Name: "services", Generation: 1, Key: []string{"id"}, Columns: []string{"name", "port", "weight", "tags", "note"}}
	for i := range n {
		t.Changes = append(t.Changes, Change{
			Key:          []Value{IntegerValue(int64(1000 + i))},
			CausalLength: 1,
			Columns:      FirstColumns(5),
			Values: []Value{TextValue(fmt.Sprintf("service-%d", i)), IntegerValue(int64(i * 37)), RealValue(float64(i) / 8),
				TextValue("a,b"), BlobValue([]byte{byte(i), 2, 3})},
		})
	}
	c.Tables = []TableChanges{t}
	return c
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			c := rows(n)
			b.ReportAllocs()
			for b.Loop() {
				s, err := Seal(c)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(s.Data)))
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s, err := Seal(rows(n))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(s.Data)))
			for b.Loop() {
				if _, err := s.Decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestSealedChangesetDecodesToItself(t *testing.T) {
	c := rows(100)
	s, err := Seal(c)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Open(s.Data)
	if err != nil || o.Hash != s.Hash || o.Version != 12 {
		t.Fatal(o, err)
	}
	got, err := o.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(c) {
		t.Fatalf("got %v\nwant %v", got, c)
	}
	again, err := Seal(got)
	if err != nil || !bytes.Equal(again.Data, s.Data) {
		t.Fatal(err)
	}
	p := Pack(s.Data)
	u, err := Unpack(p)
	if err != nil || !bytes.Equal(u, s.Data) {
		t.Fatal(err)
	}
	t.Log(len(s.Data), len(p))
}
