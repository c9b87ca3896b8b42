package changeset

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// TestFormatPageShowsTheGoldenBytes keeps FORMAT.md's example to the code.
func TestFormatPageShowsTheGoldenBytes(t *testing.T) {
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(page), "## By example")
	parts := strings.Split(example, "```")
	if !found || len(parts) != 3 {
		t.Fatal("FORMAT.md has no example")
	}
	var digits strings.Builder
	for line := range strings.Lines(strings.Trim(parts[1], "\n")) {
		indent := len(line) - len(strings.TrimLeft(line, " "))
		field, _, _ := strings.Cut(line[indent:], "   ") // what follows is prose
		field, _, _ = strings.Cut(field, " previous")
		digits.WriteString(strings.ReplaceAll(strings.TrimSpace(field), " ", ""))
	}
	got, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	if want := goldenData(t, "testdata/insert.golden"); !bytes.Equal(got, want) {
		t.Errorf("FORMAT.md says\n%x\nnot\n%x", got, want)
	}
	for limit, text := range map[int]string{
		MaxEncodedSize: "32 MiB", MaxValues: "4,194,304", MaxColumns: "2,000", MaxNameSize: "1,024", MaxKeySize: "65,536",
		int(MaxCausalLength): "2⁴⁰ ", int(MaxVersion): "2⁴⁰−1",
	} {
		if !strings.Contains(string(page), "| "+text) {
			t.Errorf("FORMAT.md does not state the limit %d as %q", limit, text)
		}
	}
	if MaxEncodedSize != 32<<20 || MaxValues != 4194304 || MaxColumns != 2000 || MaxNameSize != 1024 || MaxKeySize != 65536 ||
		MaxCausalLength != 1<<40 || MaxVersion != 1<<40-1 {
		t.Error("a limit changed: FORMAT.md, and the format version, must change with it")
	}
}
