package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func TestCellsKeepTheirStorageClass(t *testing.T) {
	for _, tt := range []struct {
		desc string
		v    changeset.Value
		want string
	}{
		{"null", changeset.NullValue(), `null`},
		{"integer", changeset.IntegerValue(math.MinInt64), `-9223372036854775808`},
		{"whole real", changeset.RealValue(1), `1.0`},
		{"minus zero", changeset.RealValue(math.Copysign(0, -1)), `-0.0`},
		{"shortest real", changeset.RealValue(0.1), `0.1`},
		{"long real", changeset.RealValue(1e20), `100000000000000000000.0`},
		{"large real", changeset.RealValue(1e21), `1e+21`},
		{"small real", changeset.RealValue(1e-7), `1e-7`},
		{"largest real", changeset.RealValue(math.MaxFloat64), `1.7976931348623157e+308`},
		{"infinity", changeset.RealValue(math.Inf(1)), `null`},
		{"minus infinity", changeset.RealValue(math.Inf(-1)), `null`},
		{"text", changeset.TextValue("<é>\u2028\"\x01"), `"<é>\u2028\"\u0001"`},
		{"invalid text", changeset.TextBytes([]byte{'a', 0xff, 0xe2, 0x82}), `"a\ufffd\ufffd\ufffd"`},
		{"blob", changeset.BlobValue([]byte{0, 1, 255}), `[0,1,255]`},
		{"empty blob", changeset.BlobValue(nil), `[]`},
	} {
		b := AppendValue(nil, tt.v)
		if string(b) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.desc, b, tt.want)
		}
		back, err := Value(b)
		if tt.want != "null" && tt.desc != "invalid text" && (err != nil || !back.Equal(tt.v)) {
			t.Errorf("%s: read back as %v %v, %v", tt.desc, back.Kind(), back, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("a\x00\x1f\"\\\x7f\u2028\u2029é😀\xff\xe2\x82"))
	f.Fuzz(func(t *testing.T, s []byte) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(string(s)); err != nil {
			t.Fatal(err)
		}
		if got := AppendString(nil, s); !bytes.Equal(got, bytes.TrimSpace(want.Bytes())) {
			t.Fatalf("got %s, encoding/json writes %s", got, want.Bytes())
		}
	})
}

func TestSecondsAreWrittenAsEncodingJSONDoes(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 80, 999, time.Microsecond, time.Millisecond, 1500 * time.Millisecond, time.Hour} {
		want, _ := json.Marshal(d.Seconds())
		if got := AppendSeconds(nil, d); !bytes.Equal(got, want) {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestResults(t *testing.T) {
	row := []changeset.Value{changeset.IntegerValue(1), changeset.TextValue("x"), changeset.NullValue()}
	for _, tt := range []struct {
		desc  string
		r     sqlite.Result
		timed bool
		want  string
	}{
		{"write", sqlite.Result{LastInsertID: 3, RowsAffected: 2}, false, `{"last_insert_id":3,"rows_affected":2}`},
		{"zeros are written", sqlite.Result{}, false, `{"last_insert_id":0,"rows_affected":0}`},
		{"timed", sqlite.Result{Time: 1500 * time.Millisecond}, true, `{"last_insert_id":0,"rows_affected":0,"time":1.5}`},
		{"error alone", sqlite.Result{Err: &sqlite.Error{Code: sqlite.ErrConstraint, Message: "UNIQUE constraint failed: foo.id"}, RowsAffected: 1}, true,
			`{"error":"UNIQUE constraint failed: foo.id"}`},
		{"other error", sqlite.Result{Err: errors.New("a <b>")}, false, `{"error":"a <b>"}`},
		{"rows", sqlite.Result{HasRows: true, Columns: []string{"id", "n", "z"}, Types: []string{"INTEGER", "", ""}, Rows: [][]changeset.Value{row, row}}, false,
			`{"columns":["id","n","z"],"types":["integer","text",""],"values":[[1,"x",null],[1,"x",null]]}`},
		{"no rows", sqlite.Result{HasRows: true, Columns: []string{"id"}, Types: []string{"INT"}}, true,
			`{"columns":["id"],"types":["int"],"values":[],"time":0}`},
	} {
		if got := AppendResult(nil, &tt.r, tt.timed); string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.desc, got, tt.want)
		}
	}
}

func TestWhatJSONCannotSayIsNotSent(t *testing.T) {
	for _, st := range []sqlite.Statement{
		{SQL: "\xff"},
		{SQL: "s", Params: []changeset.Value{changeset.RealValue(math.Inf(1))}},
		{SQL: "s", Params: []changeset.Value{changeset.TextValue("\xff")}},
		{SQL: "s", Named: map[string]changeset.Value{"a": changeset.TextValue("\xff")}},
		{SQL: "s", Named: map[string]changeset.Value{"\xff": changeset.NullValue()}},
	} {
		if b, err := AppendStatement(nil, st); err == nil {
			t.Errorf("sent %s", b)
		}
	}
}

func BenchmarkOneRow(b *testing.B) {
	body := []byte(`[["INSERT INTO services(id, name, port) VALUES(?, ?, ?)", 1, "web", 80]]`)
	results := []sqlite.Result{{LastInsertID: 1, RowsAffected: 1}}
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		if _, err := Statements(body, 1000); err != nil {
			b.Fatal(err)
		}
		out = AppendResult(out[:0], &results[0], false)
	}
}
