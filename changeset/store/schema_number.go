package store

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// How SQLite turns numbers into text and text into numbers when a column's
// affinity asks for it. The two differ from strconv in the last digits, and the
// tests hold them to SQLite's results bit by bit.

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
// apart, or v. As for SQLite, a NUL ends the text.
func numberFromText(v changeset.Value) changeset.Value {
	text, _, _ := strings.Cut(v.Text(), "\x00")
	text = strings.Trim(text, " \t\n\v\f\r")
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return changeset.IntegerValue(n)
	}
	if f, ok := realFromText(text); ok {
		return changeset.RealValue(f)
	}
	return v
}

// realFromText reads [+-]digits[.digits][e[+-]digits], with at least one digit
// before the exponent. Of a long number only as many digits count as 64 bits
// surely hold; the rest is cut off, as sqlite3AtoF does.
func realFromText(s string) (f float64, ok bool) {
	const full = (math.MaxUint64 - 9) / 10
	var mantissa uint64
	var scale int
	unsigned := trimSign(s)
	whole := leadingDigits(unsigned)
	rest := unsigned[len(whole):]
	var fraction string
	if strings.HasPrefix(rest, ".") {
		fraction = leadingDigits(rest[1:])
		rest = rest[1+len(fraction):]
	}
	if whole == "" && fraction == "" {
		return 0, false
	}
	for i, c := range []byte(whole + fraction) {
		room := mantissa < full
		if room {
			mantissa = mantissa*10 + uint64(c-'0')
		}
		switch fractional := i >= len(whole); {
		case fractional && room:
			scale--
		case !fractional && !room:
			scale++
		}
	}
	if rest != "" {
		digits := trimSign(rest[1:])
		if rest[0]|0x20 != 'e' || digits == "" || leadingDigits(digits) != digits {
			return 0, false
		}
		exponent, err := strconv.Atoi(rest[1:])
		if err != nil {
			exponent = 10000
			if rest[1] == '-' {
				exponent = -exponent
			}
		}
		scale += max(-10000, min(10000, exponent))
	}
	f, _ = strconv.ParseFloat(fmt.Sprintf("%de%d", mantissa, scale), 64)
	if s[0] == '-' {
		f = -f
	}
	return f, true
}

func leadingDigits(s string) string { return s[:len(s)-len(strings.TrimLeft(s, decimalDigits))] }

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
// sqlite3FpDecode, rule by rule: 18 or 19 digits; a shorter form if they end in
// nines or zeros and it reads back as f; else 17, half rounded up.
func realDigits(f float64) (digits string, exponent int) {
	scaled, power := decimalScaled(f)
	z := strconv.FormatUint(scaled, 10)
	exponent = power + len(z) - 1
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

// decimalScaled returns f > 0 as scaled · 10^power with 18 or 19 digits, off by
// what a multiplication of 64 bits loses: sqlite3Fp2Convert10.
func decimalScaled(f float64) (scaled uint64, power int) {
	fraction, exponent := math.Frexp(f)
	mantissa := uint64(math.Ldexp(fraction, 53)) << 11
	exponent -= 64
	p := 17 - (exponent+63)*78913>>18
	high, _ := bits.Mul64(mantissa, leadingBits(p))
	high >>= -(exponent + p*108853>>15 + 2)
	return (high + high<<1&2) >> 1, -p
}

// leadingBits returns the first 64 bits of 10^p.
func leadingBits(p int) uint64 {
	n := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(p, -p))), nil)
	if p < 0 {
		n.Quo(new(big.Int).Lsh(big.NewInt(1), uint(n.BitLen()+64)), n)
	}
	if cut := n.BitLen() - 64; cut > 0 {
		n.Rsh(n, uint(cut))
	} else {
		n.Lsh(n, uint(-cut))
	}
	return n.Uint64()
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
