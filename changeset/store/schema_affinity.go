package store

import (
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
