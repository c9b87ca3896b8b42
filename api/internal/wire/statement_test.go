package wire

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/sqlite"
)

// show prints a statement with the storage class of every value.
func show(st sqlite.Statement) string {
	var b strings.Builder
	b.WriteString(st.SQL)
	for _, v := range st.Params {
		fmt.Fprintf(&b, " %v:%v", v.Kind(), v)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Named)) {
		v := st.Named[name]
		fmt.Fprintf(&b, " %s=%v:%v", name, v.Kind(), v)
	}
	return b.String()
}

func TestStatementForms(t *testing.T) {
	for _, tt := range []struct{ desc, text, want string }{
		{"simple", `"SELECT 1"`, `SELECT 1`},
		{"simple with space around", " \t\r\n\"SELECT 1\" \n", `SELECT 1`},
		{"empty SQL", `""`, ``},
		{"escapes", `"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00b"`, "a\"\\/\b\f\n\r\té😀b"},
		{"array without parameters", `["s"]`, `s`},
		{"flat", `["s", 1, "x", null]`, `s integer:1 text:'x' null:NULL`},
		{"flat with one", `["s",null]`, `s null:NULL`},
		{"flat blob when not alone", `["s", 1, [1,2,255]]`, `s integer:1 blob:x'0102ff'`},
		{"flat object when not alone is text", `["s", {"a":1}, 2]`, `s text:'{"a":1}' integer:2`},
		{"nested", `["s", [1, 2]]`, `s integer:1 integer:2`},
		{"nested and empty", `["s", []]`, `s`},
		{"nested blob", `["s", [[1, 2 , 0]]]`, `s blob:x'010200'`},
		{"nested empty blob", `["s", [[]]]`, `s blob:x''`},
		{"array beyond bytes is text as sent", `["s", [[1, 256], [1.0], ["a"], [-1]]]`, `s text:'[1, 256]' text:'[1.0]' text:'["a"]' text:'[-1]'`},
		{"named", `["s", {"b": 2, ":a": "x"}]`, `s :a=text:'x' b=integer:2`},
		{"last of equal names", `["s", {"a": 1, "a": 2}]`, `s a=integer:2`},
		{"verbose", `{"query":"s"}`, `s`},
		{"verbose with nulls", `{"params":null,"named_params":null,"query":"s"}`, `s`},
		{"verbose positional", `{"query":"s","params":[1,[2]]}`, `s integer:1 blob:x'02'`},
		{"verbose named", `{"query":"s","named_params":{"a":true}}`, `s a=integer:1`},
		{"verbose both", `{"query":"s","params":[0],"named_params":{"a":1}}`, `s integer:0 a=integer:1`},
		{"booleans", `["s", [true, false]]`, `s integer:1 integer:0`},
		{"integers", `["s", [0, -0, 9223372036854775807, -9223372036854775808]]`, `s integer:0 integer:0 integer:9223372036854775807 integer:-9223372036854775808`},
		{"reals", `["s", [1.0, 1e3, 9223372036854775808, -1.5E-2]]`, `s real:1.0 real:1000.0 real:9.223372036854776e+18 real:-0.015`},
		{"strings stay text", `["s", ["x'41'", "1", ""]]`, `s text:'x''41''' text:'1' text:''`},
		{"NUL in text", `["s", ["a\u0000b"]]`, "s text:'a\x00b'"},
		{"object is its text as sent", `["s", [{"k": [1, "}"]}]]`, `s text:'{"k": [1, "}"]}'`},
	} {
		st, err := Statement([]byte(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.desc, err)
			continue
		}
		if got := show(st); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.desc, got, tt.want)
		}
	}
}

func TestStatementsSayWhatIsWrongAndWhere(t *testing.T) {
	for _, tt := range []struct{ desc, text, want string }{
		{"empty body", ``, `the body is not JSON: unexpected end of JSON input (byte 0)`},
		{"not JSON", `[x]`, `the body is not JSON: invalid character 'x' looking for beginning of value (byte 2)`},
		{"cut off", `["a"`, `the body is not JSON: unexpected end of JSON input (byte 4)`},
		{"garbage after", `["a"] x`, `the body is not JSON: invalid character 'x' after top-level value (byte 7)`},
		{"not an array", `{"query":"s"}`, `the body must be an array of statements, not an object (byte 0)`},
		{"string", ` "s"`, `the body must be an array of statements, not a string (byte 1)`},
		{"empty array", `[]`, `at least one statement is required (byte 0)`},
		{"number", `["a", 5]`, `element 1 (byte 6): a statement must be a string, an array or an object, not a number`},
		{"null", `[null]`, `element 0 (byte 1): a statement must be a string, an array or an object, not null`},
		{"empty statement", `["a", []]`, `element 1 (byte 6): an empty array is no statement: its first element must be the SQL`},
		{"SQL is no string", `[["a"], [1, 2]]`, `element 1 (byte 9): the first element of a statement must be its SQL as a string, not a number`},
		{"number too large", `["a", ["s", 1, 1e999]]`, `element 1 (byte 15): invalid number 1e999`},
		{"unknown key", `[{"query":"s","parms":[]}]`, `element 0 (byte 14): unknown key "parms" in a statement, which has query, params and named_params`},
		{"no query", `[{"params":[]}]`, `element 0 (byte 14): a statement object needs the key "query"`},
		{"query no string", `[{"query":7}]`, `element 0 (byte 10): query must be a string, not a number`},
		{"params no array", `[{"query":"s","params":{}}]`, `element 0 (byte 23): params must be an array or null, not an object`},
		{"named_params no object", `[{"query":"s","named_params":[]}]`, `element 0 (byte 29): named_params must be an object or null, not an array`},
		{"empty name", `[["s",{"":1}]]`, `element 0 (byte 7): a parameter's name is empty`},
		{"invalid UTF-8", "[\"a\xff\"]", `the body is not valid UTF-8 (byte 3)`},
		{"unpaired surrogate", `["a\ud800"]`, `element 0 (byte 10): a string holds an unpaired surrogate \u escape`},
	} {
		_, err := Statements([]byte(tt.text), 10)
		var wrong *Error
		if !errors.As(err, &wrong) || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.desc, err, tt.want)
		}
	}
}

func TestStatementsCountBeforeTheyRead(t *testing.T) {
	_, err := Statements([]byte(`["a", 5, ["x", [1,2]], {}]`), 3)
	var many *TooManyError
	if !errors.As(err, &many) || *many != (TooManyError{4, 3}) {
		t.Errorf("got %v", err)
	}
	list, err := Statements([]byte(`["a", ["b"], {"query":"c"}]`), 3)
	if err != nil || len(list) != 3 {
		t.Errorf("at the limit: %d statements, %v", len(list), err)
	}
}

func TestStatementsReadBackAsWritten(t *testing.T) {
	for _, text := range []string{
		`["s"]`, `[["s",[1,1.0,"x",null,[1,2]]]]`, `[["s",{"$a":[],"b":"é\u0000"}]]`,
		`[{"query":"s","params":[1e+300],"named_params":{":n":-5.0}},"t"]`,
	} {
		list, err := Statements([]byte(text), 9)
		if err != nil {
			t.Fatal(err)
		}
		again, err := AppendStatements(nil, list)
		if err != nil || string(again) != text {
			t.Errorf("got %s, %v, want %s", again, err, text)
		}
	}
}

func FuzzStatements(f *testing.F) {
	for _, s := range []string{
		`["a"]`, `[["a", 1, [1,2], {"b": [1]}]]`, `[{"query":"x","params":[1.5e3,"\ud83d\ude00"],"named_params":{"a":null}}]`,
		`[["s",[[256]]]]`, `[[], {}, 1e999]`, `["\ud800"]`, "[\"\xff\"]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Statements(text, 100)
		if err != nil {
			return
		}
		// What is read can be written, and reads back the same.
		again, err := AppendStatements(nil, list)
		if err != nil {
			t.Fatalf("write %q: %v", text, err)
		}
		back, err := Statements(again, 100)
		if err != nil {
			t.Fatalf("read back %s: %v", again, err)
		}
		for i := range list {
			if show(list[i]) != show(back[i]) {
				t.Fatalf("%s became %s", show(list[i]), show(back[i]))
			}
		}
	})
}
