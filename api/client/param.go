package client

import (
	"github.com/patinadb/patina/api/internal/wire"
	"github.com/patinadb/patina/changeset"
)

// ParseParam reads a parameter as somebody types it: JSON by the API's rules
// (null, a number, true, "a string", an array of bytes), and anything else as
// text.
func ParseParam(s string) Value {
	if v, err := wire.Value([]byte(s)); err == nil {
		return v
	}
	return changeset.TextValue(s)
}
