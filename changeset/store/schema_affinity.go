package store

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// affinity is what SQLite makes of the values stored in a column.
type affinity uint8

const (
	affinityBlob affinity = iota // also: no type, and ANY in a STRICT table
	affinityText
	affinityNumeric
	affinityInteger
	affinityReal
)

// declaration returns a type that has the affinity.
func (a affinity) declaration() string {
	switch a {
	case affinityText:
		return "TEXT"
	case affinityNumeric:
		return "NUMERIC"
	case affinityInteger:
		return "INTEGER"
	case affinityReal:
		return "REAL"
	}
	return "BLOB"
}

// zero is the apply default of a NOT NULL column without a literal default.
func (a affinity) zero() changeset.Value {
	switch a {
	case affinityText:
		return changeset.TextValue("")
	case affinityNumeric, affinityInteger:
		return changeset.IntegerValue(0)
	case affinityReal:
		return changeset.RealValue(0)
	}
	return changeset.BlobValue(nil)
}

// affinityOf follows https://sqlite.org/datatype3.html section 3.1, and for
// STRICT tables https://sqlite.org/stricttables.html.
func affinityOf(decl string, strict bool) affinity {
	d := foldName(decl)
	has := func(part string) bool { return strings.Contains(d, part) }
	switch {
	case strict && d == "any":
		return affinityBlob
	case has("int"):
		return affinityInteger
	case has("char"), has("clob"), has("text"):
		return affinityText
	case d == "", has("blob"):
		return affinityBlob
	case has("real"), has("floa"), has("doub"):
		return affinityReal
	}
	return affinityNumeric
}

// applyAffinity converts v as SQLite does when it stores v in a column of
// affinity a. It is for values that SQLite hands out unconverted: the preupdate
// hook gives the DEFAULT of a column that was added later as it was written.
// What a column holds is never changed by it.
func applyAffinity(v changeset.Value, a affinity) changeset.Value {
	switch a {
	case affinityText:
		switch v.Kind() {
		case changeset.Integer:
			return changeset.TextValue(strconv.FormatInt(v.Integer(), 10))
		case changeset.Real:
			return changeset.TextValue(realText(v.Real()))
		}
	case affinityNumeric, affinityInteger, affinityReal:
		if v.Kind() == changeset.Text {
			v = numberFromText(v)
		}
		if a == affinityReal {
			if v.Kind() == changeset.Integer {
				return changeset.RealValue(float64(v.Integer()))
			}
			return v.Canonical() // a REAL column has no -0.0
		}
		if v.Kind() == changeset.Real {
			return integerFromReal(v)
		}
	}
	return v
}

// integerFromReal turns a REAL that is an integer into one, but for the two
// ends of the range, as sqlite3VdbeIntegerAffinity.
func integerFromReal(v changeset.Value) changeset.Value {
	f := v.Real()
	if f <= -1<<63 || f >= 1<<63 || f != math.Trunc(f) {
		return v
	}
	n := int64(f)
	if n == math.MinInt64 || n == math.MaxInt64 {
		return v
	}
	return changeset.IntegerValue(n)
}

// numberFromText returns the number that v's text is wholly, blanks around it
// apart, or v. As for SQLite, a NUL ends the text, and of a long number only the
// first digits count that 64 bits hold.
func numberFromText(v changeset.Value) changeset.Value {
	text, _, _ := strings.Cut(v.Text(), "\x00")
	text = strings.Trim(text, " \t\n\v\f\r")
	if !isDecimal(text) {
		return v
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return changeset.IntegerValue(n)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return v
	}
	return changeset.RealValue(f)
}

// isDecimal reports whether s is [+-]digits[.digits][e[+-]digits] with at least
// one digit before the exponent.
func isDecimal(s string) bool {
	s = trimSign(s)
	rest := strings.TrimLeft(s, decimalDigits)
	digits := len(s) - len(rest)
	if strings.HasPrefix(rest, ".") {
		fraction := strings.TrimLeft(rest[1:], decimalDigits)
		digits += len(rest) - 1 - len(fraction)
		rest = fraction
	}
	if digits == 0 {
		return false
	}
	if rest == "" {
		return true
	}
	if rest[0] != 'e' && rest[0] != 'E' {
		return false
	}
	exponent := trimSign(rest[1:])
	return exponent != "" && strings.TrimLeft(exponent, decimalDigits) == ""
}

const decimalDigits = "0123456789"

func trimSign(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

// realText prints f as SQLite's "%!.17g": always with a point, and with fewer
// digits where those still read back as f.
func realText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	case f == 0:
		return "0.0"
	case f < 0:
		return "-" + realText(-f)
	}
	digits, exponent := realDigits(f)
	switch {
	case exponent < -4 || exponent > 16:
		return digits[:1] + "." + orZero(digits[1:]) + exponentText(exponent)
	case exponent < 0:
		return "0." + strings.Repeat("0", -exponent-1) + digits
	}
	digits += strings.Repeat("0", max(0, exponent+1-len(digits)))
	return digits[:exponent+1] + "." + orZero(digits[exponent+1:])
}

// realDigits returns up to 17 significant decimal digits of f > 0 without
// trailing zeros, and the decimal exponent of the first. It repeats
// sqlite3FpDecode, rule by rule: 18 digits; a shorter form if they end in nines
// or zeros and it reads back as f; else 17, half rounded up.
func realDigits(f float64) (digits string, exponent int) {
	mantissa, power, _ := strings.Cut(strconv.FormatFloat(f, 'e', 17, 64), "e")
	exponent, _ = strconv.Atoi(power)
	z := mantissa[:1] + mantissa[2:]
	keep := 17
	switch {
	case z[14:16] == "99":
		short := strings.TrimRight(z[:14], "9")
		if next, at := nextDecimal(short); readsAs(next, exponent+1-at, f) {
			keep = len(short) + 1
		}
	case exponent+1 >= len(z) || z[13:16] == "000":
		short := strings.TrimRight(z[:13], "0")
		if readsAs(short, exponent+1-len(short), f) {
			keep = len(short) + 1
		}
	}
	digits = z[:keep]
	if z[keep] >= '5' {
		var at int
		if digits, at = nextDecimal(digits); at < len(digits) {
			exponent++
		}
	}
	return strings.TrimRight(digits, "0"), exponent
}

// nextDecimal adds one to a decimal number. at is where its point stands,
// counted from the number's own first digit: less than its length if a digit
// was carried out in front.
func nextDecimal(digits string) (next string, at int) {
	b := []byte(digits)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] <= '9' {
			return string(b), len(b)
		}
		b[i] = '0'
	}
	return "1" + string(b), len(b)
}

// readsAs reports whether digits · 10^exponent is f.
func readsAs(digits string, exponent int, f float64) bool {
	got, err := strconv.ParseFloat(digits+"e"+strconv.Itoa(exponent), 64)
	return err == nil && got == f
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func exponentText(e int) string {
	if e < 0 {
		return fmt.Sprintf("e-%02d", -e)
	}
	return fmt.Sprintf("e+%02d", e)
}
