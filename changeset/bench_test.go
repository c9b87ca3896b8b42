package changeset

import (
	"fmt"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

// inserted returns a changeset of n inserted rows of six columns, keys
// ascending, as capture delivers it.
func inserted(n int) *Changeset {
	t := TableChanges{Name: "services", Generation: 1, Key: []string{"id"},
		Columns: []string{"name", "port", "weight", "tags", "note"}}
	for i := range n {
		t.Changes = append(t.Changes, Change{
			Key:          []Value{IntegerValue(int64(1000 + i))},
			CausalLength: 1,
			Columns:      FirstColumns(5),
			Values: []Value{TextValue(fmt.Sprintf("service-%d", i)), IntegerValue(int64(i * 37)),
				RealValue(float64(i) / 8), TextValue("a,b"), BlobValue([]byte{byte(i), 2, 3})},
		})
	}
	return &Changeset{
		Header: Header{Actor: ActorID{7, 1}, Version: 12, Time: hlc.Timestamp(1764028800000 << 16), Previous: Hash{1}},
		Tables: []TableChanges{t},
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			c := inserted(n)
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
			s := mustSeal(b, inserted(n))
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

func BenchmarkPack(b *testing.B) {
	s := mustSeal(b, inserted(100))
	b.ReportAllocs()
	b.SetBytes(int64(len(s.Data)))
	for b.Loop() {
		if _, err := Unpack(Pack(s.Data)); err != nil {
			b.Fatal(err)
		}
	}
}
