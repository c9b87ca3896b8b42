package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func TestSchemaAffinityOfDeclaredTypes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		desc, decl string
		strict     bool
		want       affinity
	}{
		{"INT anywhere wins", "CHARINT", false, affinityInteger},
		{"the classic trap", "FLOATING POINT", false, affinityInteger},
		{"length does not matter", "VARCHAR(10)", false, affinityText},
		{"TEXT beats BLOB", "TEXTBLOB", false, affinityText},
		{"BLOB beats REAL", "REALBLOB", false, affinityBlob},
		{"no type", "", false, affinityBlob},
		{"DOUBLE PRECISION", "DOUBLE PRECISION", false, affinityReal},
		{"unknown words", "DECIMAL(10,5)", false, affinityNumeric},
		{"STRING is no text", "STRING", false, affinityNumeric},
		{"ANY is numeric", "ANY", false, affinityNumeric},
		{"but not in STRICT tables", "ANY", true, affinityBlob},
		{"only ASCII folds", "İNT", false, affinityNumeric},
	} {
		if got := affinityOf(tt.decl, tt.strict); got != tt.want {
			t.Errorf("%s: %q has affinity %s, want %s", tt.desc, tt.decl, got.declaration(), tt.want.declaration())
		}
	}
}

// schemaStorage stores values in columns of every affinity and reads them back:
// SQLite is the judge of applyAffinity.
type schemaStorage struct {
	c          *sqlite.Conn
	affinities []affinity
}

func newSchemaStorage(t testing.TB) *schemaStorage {
	t.Helper()
	s := &schemaStorage{schemaDB(t, "PRAGMA synchronous=OFF"), []affinity{affinityBlob, affinityText, affinityNumeric, affinityInteger, affinityReal}}
	schemaExec(t, s.c, "CREATE TEMP TABLE v(a0 BLOB, a1 TEXT, a2 NUMERIC, a3 INTEGER, a4 REAL)")
	return s
}

func (s *schemaStorage) check(t testing.TB, v changeset.Value) {
	t.Helper()
	if err := s.c.Each("DELETE FROM v", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.c.Each("INSERT INTO v VALUES(?1, ?1, ?1, ?1, ?1)", []changeset.Value{v}, nil); err != nil {
		t.Fatal(err)
	}
	err := s.c.Each("SELECT * FROM v", nil, func(st *sqlite.Stmt) error {
		for i, a := range s.affinities {
			stored := st.Column(i)
			if got := applyAffinity(v, a); !got.Equal(stored) {
				t.Errorf("%s %s stored as %s: %s %s, we say %s %s", v.Kind(), v, a.declaration(), stored.Kind(), stored, got.Kind(), got)
			}
			if again := applyAffinity(stored, a); !again.Equal(stored) {
				t.Errorf("%s %s in a column of affinity %s changes to %s %s", stored.Kind(), stored, a.declaration(), again.Kind(), again)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSchemaAffinityIsSQLites(t *testing.T) {
	t.Parallel()
	s := newSchemaStorage(t)
	for _, v := range []changeset.Value{
		changeset.NullValue(), changeset.BlobValue(nil), changeset.BlobValue([]byte("12")),
	} {
		s.check(t, v)
	}
	for _, n := range []int64{0, 1, -1, 1 << 47, 1<<53 + 1, 1<<62 + 1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1} {
		s.check(t, changeset.IntegerValue(n))
		s.check(t, changeset.TextValue(fmt.Sprint(n)))
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, -1, 0.5, 1.5, 1e14, 1e15, 1e16, 123456789012345, 1234567890123456, 1234567890123.125,
		0.1, 1.0 / 3, 1e-4, 1e-5, 9.99999999999999999e22, 999999999999999.9, 9999999999999999, 1 << 63, -1 << 63, 1<<63 - 1024,
		-1<<63 + 1024, 1 << 53, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), 1e300, 2.5, -2.5, 1e100,
	} {
		s.check(t, changeset.RealValue(f))
	}
	for _, text := range []string{
		"", " ", "1", " 1 ", "\t1\n", "1x", "+1", "-1", "--1", "+-1", "1.0", "1.", ".5", ".", "-.5", "1e3", "1E3", "1e", "1e+", "1e+2", "e5",
		"1e400", "-1e400", "1e-400", "0x10", "1_000", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775809", "9223372036854775807.0", "9.2e18", "1e18", "123456789012345678901234567890", "00012", "1.50", "inf", "nan", "Infinity",
		"1 2", "1\x00", "\x001", "1\x00x", "12\x003", "1.5\x00x", "1x\x00", "１", "1\v", "\u00a01", "0.0", "-0", "-0.0", "0e5", "1.0e-1", "true",
	} {
		s.check(t, changeset.TextValue(text))
	}
}

func TestSchemaAffinityOfRandomValues(t *testing.T) {
	t.Parallel()
	s := newSchemaStorage(t)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	values := 50000
	if testing.Short() {
		values = 20000
	}
	for range values {
		switch r.IntN(5) {
		case 0:
			s.check(t, changeset.IntegerValue(int64(r.Uint64())>>r.IntN(64)))
		case 1:
			s.check(t, changeset.RealValue(math.Float64frombits(r.Uint64())))
		case 2:
			s.check(t, changeset.RealValue(float64(int64(r.Uint64())>>r.IntN(64))/float64(int64(1)<<r.IntN(20))))
		case 3:
			s.check(t, changeset.TextValue(fmt.Sprintf("%d.%0*d", int64(r.Uint64())>>r.IntN(64), 1+r.IntN(4), r.IntN(10))))
		default:
			const alphabet = "0123456789+-.e x\t"
			b := make([]byte, r.IntN(9))
			for i := range b {
				b[i] = alphabet[r.IntN(len(alphabet))]
			}
			s.check(t, changeset.TextBytes(b))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
