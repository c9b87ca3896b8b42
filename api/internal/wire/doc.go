// Package wire is the JSON of the /v1 endpoints: statements and parameter
// values as clients send them, results and cells as they get them. The server
// parses what the client package writes and the reverse, so both live here.
//
// Reading has two steps. encoding/json decides whether the text is JSON at all
// and where it is not; then a cursor walks the text, which it may trust, without
// building trees. Values share the memory of the text: the caller leaves it
// alone for as long as the values live.
//
// A number keeps its storage class through both directions: an integer literal
// that fits 64 bits is an INTEGER, every other number a REAL, and a REAL is
// always written with a point or an exponent.
package wire
