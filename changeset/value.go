package changeset

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kind is a storage class of SQLite. The numbers are SQLite's own
// (sqlite3.h, SQLITE_INTEGER … SQLITE_NULL) so that the two never need a table.
type Kind uint8

// The five storage classes.
const (
	Integer Kind = 1
	Real    Kind = 2
	Text    Kind = 3
	Blob    Kind = 4
	Null    Kind = 5
)

// String returns SQLite's name of the class, as typeof() prints it.
func (k Kind) String() string {
	switch k {
	case Integer:
		return "integer"
	case Real:
		return "real"
	case Text:
		return "text"
	case Blob:
		return "blob"
	case Null:
		return "null"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Value is one SQLite storage value. Text may hold NUL and invalid UTF-8: bytes
// are kept as they are. The zero Value is NULL.
type Value struct {
	kind Kind // 0 counts as Null
	num  uint64
	data []byte
}

// negativeZero is the bits of -0.0.
const negativeZero = 1 << 63

// NullValue returns NULL.
func NullValue() Value { return Value{kind: Null} }

// IntegerValue returns an INTEGER.
func IntegerValue(n int64) Value { return Value{kind: Integer, num: uint64(n)} }

// RealValue returns a REAL. SQLite stores NaN as NULL, and so does this; -0.0
// keeps its sign (keys drop it: see Canonical).
func RealValue(f float64) Value {
	if math.IsNaN(f) {
		return NullValue()
	}
	return Value{kind: Real, num: math.Float64bits(f)}
}

// TextValue returns a TEXT.
func TextValue(s string) Value { return Value{kind: Text, data: []byte(s)} }

// TextBytes returns a TEXT that shares b.
func TextBytes(b []byte) Value { return Value{kind: Text, data: b} }

// BlobValue returns a BLOB that shares b; nil is the empty blob, not NULL.
// Neither it nor TextBytes changes b or expects it to stay after use: who keeps
// the value beyond b's life clones it.
func BlobValue(b []byte) Value { return Value{kind: Blob, data: b} }

// Kind returns the storage class.
func (v Value) Kind() Kind {
	if v.kind == 0 {
		return Null
	}
	return v.kind
}

// Integer returns the number of an INTEGER; of another kind it is meaningless.
func (v Value) Integer() int64 { return int64(v.num) }

// Real returns the number of a REAL; of another kind it is meaningless.
func (v Value) Real() float64 { return math.Float64frombits(v.num) }

// Bytes returns the bytes of a TEXT or BLOB, shared, not copied.
func (v Value) Bytes() []byte { return v.data }

// Text returns the bytes of a TEXT or BLOB as a string.
func (v Value) Text() string { return string(v.data) }

// Clone returns a value that shares no memory with v.
func (v Value) Clone() Value {
	v.data = bytes.Clone(v.data)
	return v
}

// Equal reports equality of storage class and bytes, never of collation or of
// number across classes: 1 and 1.0 differ, 0.0 and -0.0 differ.
func (v Value) Equal(w Value) bool {
	if v.Kind() != w.Kind() {
		return false
	}
	switch v.Kind() {
	case Null:
		return true
	case Integer, Real:
		return v.num == w.num
	}
	return bytes.Equal(v.data, w.data)
}

// Canonical returns v as it is written into a key: -0.0 becomes 0.0, since
// SQLite calls the two equal.
func (v Value) Canonical() Value {
	if v.kind == Real && v.num == negativeZero {
		v.num = 0
	}
	return v
}

// String prints the value for logs and the inspector, as an SQL literal.
func (v Value) String() string {
	switch v.Kind() {
	case Integer:
		return strconv.FormatInt(v.Integer(), 10)
	case Real:
		return realLiteral(v.Real())
	case Text:
		return "'" + string(bytes.ReplaceAll(v.data, []byte("'"), []byte("''"))) + "'"
	case Blob:
		return fmt.Sprintf("x'%x'", v.data)
	}
	return "NULL"
}

// realLiteral writes f so that SQLite reads a REAL and the same one: with a
// point or exponent; infinity, which has no literal, as an overflow.
func realLiteral(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "9e999"
	case math.IsInf(f, -1):
		return "-9e999"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
