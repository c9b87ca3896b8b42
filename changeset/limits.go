package changeset

// FormatVersion is the first byte of every encoded changeset. Whatever changes
// the meaning of any byte behind it raises it (FORMAT.md, Versions).
const FormatVersion = 1

// MaxEncodedSize is the largest encoded changeset in bytes, before compression.
// It is a constant of the protocol that every node must accept, never a setting.
const MaxEncodedSize = 32 << 20

// The other limits of the protocol. Like MaxEncodedSize they are no settings:
// what one node seals, every node must be able to open.
const (
	// MaxValues bounds the values of all changes of a changeset, keys included,
	// and so the memory that a decoder needs (a Value in memory is many times
	// larger than the two bytes that it may take encoded).
	MaxValues = 4 << 20
	// MaxColumns bounds the columns of a table that a changeset names, key
	// included. It is SQLite's own default limit.
	MaxColumns = 2000
	// MaxNameSize bounds a table or column name, in bytes.
	MaxNameSize = 1024
	// MaxKeySize bounds the text and blob bytes of one primary key together.
	MaxKeySize = 64 << 10
	// MaxCausalLength bounds causal lengths. It is even, so that a row which is
	// alive can always be deleted.
	MaxCausalLength CausalLength = 1 << 40
)

// nameFault says what forbids name as a table's or column's, "" if nothing.
func nameFault[T string | []byte](name T) string {
	if len(name) == 0 {
		return "is empty"
	}
	for i := range len(name) {
		if name[i] == 0 {
			return "holds a NUL"
		}
	}
	return ""
}
