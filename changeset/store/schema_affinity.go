package store

import (
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
			return v
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
// apart, or v.
func numberFromText(v changeset.Value) changeset.Value {
	text := strings.Trim(v.Text(), " \t\n\v\f\r")
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

// realText prints f as SQLite's "%!.15g": 15 significant digits, rounded half
// up in decimal, always with a point.
func realText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	case f == 0:
		return "0.0"
	}
	digits, exponent := roundedDigits(math.Abs(f))
	var s string
	if exponent < -4 || exponent > 14 {
		s = digits[:1] + "." + orZero(digits[1:]) + exponentText(exponent)
	} else if exponent < 0 {
		s = "0." + strings.Repeat("0", -exponent-1) + digits
	} else {
		for len(digits) <= exponent {
			digits += "0"
		}
		s = digits[:exponent+1] + "." + orZero(digits[exponent+1:])
	}
	if f < 0 {
		return "-" + s
	}
	return s
}

// roundedDigits returns up to 15 significant decimal digits without trailing
// zeros, and the decimal exponent of the first.
func roundedDigits(f float64) (digits string, exponent int) {
	const keep = 15
	exact := strconv.FormatFloat(f, 'e', 60, 64)
	mantissa, power, _ := strings.Cut(exact, "e")
	exponent, _ = strconv.Atoi(power)
	all := []byte(mantissa[:1] + mantissa[2:])
	b := all[:keep]
	if all[keep] >= '5' {
		i := keep - 1
		for ; i >= 0 && b[i] == '9'; i-- {
			b[i] = '0'
		}
		if i < 0 {
			b, exponent = append([]byte{'1'}, b[:keep-1]...), exponent+1
		} else {
			b[i]++
		}
	}
	digits = strings.TrimRight(string(b), "0")
	return digits, exponent
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func exponentText(e int) string {
	sign := "+"
	if e < 0 {
		sign, e = "-", -e
	}
	s := strconv.Itoa(e)
	if len(s) < 2 {
		s = "0" + s
	}
	return "e" + sign + s
}
