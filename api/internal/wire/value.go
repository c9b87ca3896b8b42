package wire

import (
	"errors"
	"strconv"

	"github.com/patinadb/patina/changeset"
)

// value reads a parameter or a cell. An array of integers 0 to 255 is a BLOB;
// other arrays and objects are their JSON text, as the client spelt it.
func (c *cursor) value() (changeset.Value, error) {
	switch c.peek() {
	case 'n':
		c.raw()
		return changeset.NullValue(), nil
	case 't':
		c.raw()
		return changeset.IntegerValue(1), nil
	case 'f':
		c.raw()
		return changeset.IntegerValue(0), nil
	case '"':
		s, err := c.str()
		return changeset.TextBytes(s), err
	case '[':
		raw := c.raw()
		if b, ok := blob(raw); ok {
			return changeset.BlobValue(b), nil
		}
		return changeset.TextBytes(raw), nil
	case '{':
		return changeset.TextBytes(c.raw()), nil
	}
	start := c.i
	v, err := number(string(c.raw()))
	if err != nil {
		c.i = start
	}
	return v, err
}

func number(s string) (changeset.Value, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return changeset.IntegerValue(n), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return changeset.Value{}, errors.New("invalid number " + s)
	}
	return changeset.RealValue(f), nil
}

// blob reads an array of integer literals 0 to 255; ok is false for any other.
func blob(raw []byte) (b []byte, ok bool) {
	c := cursor{b: raw}
	b = make([]byte, 0, len(raw)/2)
	for c.open(); c.more(); {
		n, err := strconv.ParseUint(string(c.raw()), 10, 8)
		if err != nil {
			return nil, false
		}
		b = append(b, byte(n))
	}
	return b, true
}
