package wire

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// errSurrogate refuses half of a UTF-16 pair: it names no character, and
// replacing it would store other text than the client sent.
var errSurrogate = errors.New(`a string holds an unpaired surrogate \u escape`)

// cursor walks text that is valid JSON in valid UTF-8. It never looks beyond a
// value that it was asked to read, so no method needs to report a syntax error.
type cursor struct {
	b []byte
	i int
}

// peek returns the first byte of the next token; 0 at the end of the text.
func (c *cursor) peek() byte {
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case ' ', '\t', '\r', '\n':
			c.i++
		default:
			return c.b[c.i]
		}
	}
	return 0
}

// open consumes the bracket or brace that peek returned.
func (c *cursor) open() { c.peek(); c.i++ }

// more reports whether another element follows, and consumes the comma before
// it or the closing byte.
func (c *cursor) more() bool {
	switch c.peek() {
	case ']', '}':
		c.i++
		return false
	case ',':
		c.i++
	}
	return true
}

// key reads the name of a member and the colon after it.
func (c *cursor) key() ([]byte, error) {
	s, err := c.str()
	c.peek()
	c.i++
	return s, err
}

// str reads a string. It shares the text unless there are escapes.
func (c *cursor) str() ([]byte, error) {
	raw := c.raw()
	raw = raw[1 : len(raw)-1]
	for i, b := range raw {
		if b == '\\' {
			return unescape(raw, i)
		}
	}
	return raw, nil
}

// raw consumes any value and returns its text.
func (c *cursor) raw() []byte {
	first := c.peek()
	start := c.i
	switch first {
	case '"':
		c.skipString()
	case '[', '{':
		c.skipNested()
	default:
		for c.i < len(c.b) && !delimits(c.b[c.i]) {
			c.i++
		}
	}
	return c.b[start:c.i:c.i]
}

func delimits(b byte) bool {
	switch b {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

func (c *cursor) skipString() {
	for c.i++; c.b[c.i] != '"'; c.i++ {
		if c.b[c.i] == '\\' {
			c.i++
		}
	}
	c.i++
}

func (c *cursor) skipNested() {
	for depth := 0; ; {
		switch c.b[c.i] {
		case '"':
			c.skipString()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		c.i++
		if depth == 0 {
			return
		}
	}
}

// unescape decodes the inside of a string whose first backslash is at from.
func unescape(raw []byte, from int) ([]byte, error) {
	out := append(make([]byte, 0, len(raw)), raw[:from]...)
	for i := from; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n := unescapeRune(raw[i+1:])
			if n == 0 {
				return nil, errSurrogate
			}
			out = utf8.AppendRune(out, r)
			i += n
		default: // quote, backslash, slash
			out = append(out, raw[i])
		}
	}
	return out, nil
}

// unescapeRune decodes what follows \u and returns how many bytes that were: 4,
// 10 for a surrogate pair, 0 for an unpaired one.
func unescapeRune(s []byte) (rune, int) {
	r := hex4(s)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(s) < 10 || s[4] != '\\' || s[5] != 'u' {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, hex4(s[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

func hex4(s []byte) rune {
	var r rune
	for _, b := range s[:4] {
		switch {
		case b <= '9':
			r = r<<4 | rune(b-'0')
		default:
			r = r<<4 | rune(b|0x20-'a'+10)
		}
	}
	return r
}
