package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/hlc"
	"github.com/patinadb/patina/transport"
)

func sample(t *testing.T) changeset.Sealed {
	t.Helper()
	actor, err := changeset.ParseActorID(testActor)
	if err != nil {
		t.Fatal(err)
	}
	s, err := changeset.Seal(&changeset.Changeset{
		Header: changeset.Header{
			Actor: actor, Version: 2, Time: hlc.At(time.UnixMilli(1_700_000_000_000), 5), Previous: changeset.Hash{1},
			After: []changeset.ID{{Actor: actor, Version: 1}},
		},
		Tables: []changeset.TableChanges{{
			Name: "services", Generation: 1, Key: []string{"id"}, Columns: []string{"name", "port"},
			Changes: []changeset.Change{
				{Key: []changeset.Value{changeset.IntegerValue(1)}, CausalLength: 1, Columns: changeset.Columns(0, 1),
					Values: []changeset.Value{changeset.TextValue("we\nb"), changeset.RealValue(80)}},
				{Key: []changeset.Value{changeset.IntegerValue(2)}, CausalLength: 2},
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInspectRecognisesEveryForm(t *testing.T) {
	s := sample(t)
	frames := transport.AppendFrame(nil, 7, []byte{1, 2, 3})
	frames = transport.AppendFrame(frames, 9, changeset.Pack(s.Data))
	text := "changeset  " + testActor + " version 2\ntime       2023-11-14T22:13:20.000Z+5\nprevious   01" + strings.Repeat("0", 62) +
		"\nhash       " + s.Hash.String()
	for _, tt := range []struct {
		desc, form string
		data       []byte
		want       []string
	}{
		{"canonical", "", s.Data, []string{text, "after      " + testActor + " version 1\n", "table      services generation 1\n",
			`  length 1 id=1: name='we\nb' port=80.0` + "\n", "  length 2 id=2 deleted\n"}},
		{"packed", "", changeset.Pack(s.Data), []string{text}},
		{"named form", "packed", changeset.Pack(s.Data), []string{text}},
		{"frames", "", frames, []string{"frame type 7, 3 bytes\n  010203\nframe type 9, ", text}},
	} {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, tt.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"inspect", "--as", tt.form}
		for source, run := range map[string]func() (int, string, string){
			"file":  func() (int, string, string) { return patina(t, "", append(args, file)...) },
			"stdin": func() (int, string, string) { return patina(t, string(tt.data), append(args, "-")...) },
			"hexadecimal": func() (int, string, string) {
				return patina(t, "  "+strings.ToUpper(hex.EncodeToString(tt.data))+"\n", append(args, "-")...)
			},
		} {
			status, out, errs := run()
			for _, want := range tt.want {
				if status != 0 || !strings.Contains(out, want) {
					t.Errorf("%s from %s: status %d, %s, lacks %q:\n%s", tt.desc, source, status, errs, want, out)
				}
			}
		}
	}
}

func TestInspectAsJSON(t *testing.T) {
	status, out, errs := patina(t, string(sample(t).Data), "inspect", "--json", "-")
	var r changesetReport
	if err := json.Unmarshal([]byte(out), &r); status != 0 || err != nil {
		t.Fatal(status, err, errs)
	}
	if r.Version != 2 || len(r.Tables) != 1 || len(r.Tables[0].Changes) != 2 || r.Tables[0].Changes[0].Columns[0].Value != "'we\nb'" || !r.Tables[0].Changes[1].Deleted {
		t.Errorf("%+v", r)
	}
}

func TestInspectSaysWhyNothingFits(t *testing.T) {
	data := sample(t).Data
	for _, tt := range []struct{ desc, form, data, want string }{
		{"cut", "changeset", string(data[:len(data)-1]), "patina: not changeset: changeset: truncated"},
		{"other version", "changeset", "\xff" + string(data[1:]), "patina: not changeset: changeset: unsupported version"},
		{"frame of another version", "frames", "\x09\x01\x00", "patina: not frames: frame 1: transport: frame: "},
		{"nothing fits", "", "\xffgarbage", "; not packed: "},
		{"nothing", "", "", "; not frames: "},
		{"unknown form", "row", "x", `patina: unknown form "row": there are changeset, packed and frames`},
	} {
		status, _, errs := patina(t, tt.data, "inspect", "--as", tt.form, "-")
		if status != 1 || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %s", tt.desc, status, errs)
		}
	}
	if status, _, errs := patina(t, "", "inspect"); status != 1 || !strings.Contains(errs, "takes one file") {
		t.Errorf("no argument: %d %s", status, errs)
	}
}
