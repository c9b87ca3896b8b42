package changeset

import (
	"encoding/binary"
	"math"
)

// AppendValue appends v by itself: a kind byte, then its payload as in a
// changeset's column (FORMAT.md, Values). Equal values have equal bytes.
func AppendValue(b []byte, v Value) []byte {
	b = append(b, byte(v.Kind()))
	return appendPayload(b, &v)
}

// DecodeValue reads what AppendValue wrote and returns the rest of b. Text and
// blobs share b.
func DecodeValue(b []byte) (v Value, rest []byte, err error) {
	r := reader{b: b}
	if v = r.value(); r.err != nil {
		return Value{}, nil, r.err
	}
	return v, b[r.off:], nil
}

// AppendBytes appends the length of part as a uvarint, then part.
func AppendBytes(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// DecodeBytes reads what AppendBytes wrote, which it shares, and returns the rest of b.
// what names it in errors, which are those of Open.
func DecodeBytes(b []byte, what string) (part, rest []byte, err error) {
	r := reader{b: b}
	if part = r.view(what); r.err != nil {
		return nil, nil, r.err
	}
	return part, b[r.off:], nil
}

// value reads what AppendValue wrote.
func (r *reader) value() (v Value) {
	at := r.off
	kind := Kind(r.oneByte("value kind"))
	if r.err == nil && (kind < Integer || kind > Null) {
		r.fail(ErrCorrupt, at, "value kind %d", kind)
	}
	if r.err == nil {
		r.payload(&v, kind)
	}
	return v
}

func zigzag(n int64) uint64   { return uint64(n)<<1 ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// appendPayload appends what follows the kind.
func appendPayload(b []byte, v *Value) []byte {
	switch v.kind {
	case Integer:
		return appendInteger(b, v)
	case Real:
		return appendReal(b, v, false)
	case Text, Blob:
		return appendBytes(b, v)
	}
	return b
}

func appendInteger(b []byte, v *Value) []byte {
	u := zigzag(int64(v.num))
	if u < 0x80 {
		return append(b, byte(u))
	}
	return binary.AppendUvarint(b, u)
}

// appendReal writes the bits; a key has no -0.0.
func appendReal(b []byte, v *Value, key bool) []byte {
	n := v.num
	if key && n == negativeZero {
		n = 0
	}
	return binary.BigEndian.AppendUint64(b, n)
}

func appendBytes(b []byte, v *Value) []byte {
	if len(v.data) < 0x80 {
		b = append(b, byte(len(v.data)))
	} else {
		b = binary.AppendUvarint(b, uint64(len(v.data)))
	}
	return append(b, v.data...)
}

// payload reads what follows the kind, which must be one of the five.
func (r *reader) payload(v *Value, kind Kind) {
	v.kind = kind
	switch kind {
	case Integer:
		v.num = uint64(unzigzag(r.uvarint("integer")))
	case Real:
		at := r.off
		v.num = r.uint64("real")
		if math.IsNaN(v.Real()) {
			r.fail(ErrCorrupt, at, "a real that is not a number")
		}
	case Text, Blob:
		v.data = r.view("length of a text or blob")
	}
}
