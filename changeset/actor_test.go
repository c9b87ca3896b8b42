package changeset

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/patinadb/patina/changeset/hlc"
)

func TestActorIDIsAUUID(t *testing.T) {
	a, b := NewActorID(), NewActorID()
	if a == b || a.IsZero() || a[6]>>4 != 4 || a[8]>>6 != 2 {
		t.Fatal(a, b)
	}
	for _, s := range []string{a.String(), strings.ToUpper(a.String())} {
		got, err := ParseActorID(s)
		if err != nil || got != a {
			t.Errorf("%s became %v, %v", s, got, err)
		}
	}
	b1, err := json.Marshal(map[ActorID]ActorID{a: b})
	if err != nil {
		t.Fatal(err)
	}
	var back map[ActorID]ActorID
	if err := json.Unmarshal(b1, &back); err != nil || back[a] != b {
		t.Errorf("%s became %v, %v", b1, back, err)
	}
}

func TestParseActorIDRefusesOtherForms(t *testing.T) {
	good := "00112233-4455-6677-8899-aabbccddeeff"
	if a, err := ParseActorID(good); err != nil || a.String() != good {
		t.Fatal(a, err)
	}
	for desc, s := range map[string]string{
		"empty":            "",
		"no hyphens":       strings.ReplaceAll(good, "-", ""),
		"braces":           "{" + good[1:35] + "}",
		"not hexadecimal":  "g" + good[1:],
		"hyphen elsewhere": "0011223-34455-6677-8899-aabbccddeeff",
		"too long":         good + "0",
		"hyphen inside":    good[:9] + "-" + good[10:],
	} {
		if a, err := ParseActorID(s); err == nil || !a.IsZero() {
			t.Errorf("%s: %v, %v", desc, a, err)
		}
	}
}

func TestStampsAreTotallyOrdered(t *testing.T) {
	ascending := []Stamp{
		{},
		{1, ActorID{1}, 9},
		{2, ActorID{1}, 1},
		{2, ActorID{1}, 2},
		{2, ActorID{2}, 1},
		{2, ActorID{2, 0, 1}, 1},
		{hlc.Max, ActorID{}, 0},
	}
	for i, s := range ascending {
		for j, u := range ascending {
			if Wins(s, u) != (i > j) || (s.Compare(u) == 0) != (i == j) {
				t.Errorf("%v and %v", s, u)
			}
		}
	}
}
