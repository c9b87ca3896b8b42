package members

import (
	"strconv"
	"strings"

	"github.com/patinadb/patina/changeset"
)

// formatName returns the library's name of one process of an actor.
func formatName(actor changeset.ActorID, epoch uint64) string {
	return actor.String() + "." + strconv.FormatUint(epoch, 10)
}

// parseName is the inverse of formatName, and refuses every other spelling: two
// names of one process would be two members.
func parseName(name string) (actor changeset.ActorID, epoch uint64, ok bool) {
	id, number, found := strings.Cut(name, ".")
	if !found {
		return actor, 0, false
	}
	actor, err := changeset.ParseActorID(id)
	if err != nil {
		return actor, 0, false
	}
	epoch, err = strconv.ParseUint(number, 10, 64)
	return actor, epoch, err == nil && formatName(actor, epoch) == name
}
