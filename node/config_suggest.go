package node

import (
	"strings"
	"unicode/utf8"
)

// didYouMean is the end of a sentence that offers what was meant, if anything.
func didYouMean(meant string) string {
	if meant == "" {
		return ""
	}
	return "; did you mean " + meant + "?"
}

// didYouMeanKey offers the key or section that path was probably meant to be,
// else what its section has.
func didYouMeanKey(path string) string {
	section, last := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		section, last = path[:i], path[i+1:]
	}
	join := func(name string) string { return strings.TrimPrefix(section+"."+name, ".") }
	if name := nearest(last, keysUnder(section)); name != "" {
		return didYouMean(join(name))
	}
	var known []string
	for _, k := range configKeys {
		if strings.HasSuffix(k.path, "."+last) { // the right name in the wrong section
			return didYouMean(k.path)
		}
		known = append(known, k.path)
	}
	if meant := nearest(path, known); meant != "" {
		return didYouMean(meant)
	}
	if section == "" {
		return "; the sections are " + strings.Join(keysUnder(section), ", ")
	}
	return "; " + section + " has " + strings.Join(keysUnder(section), ", ")
}

// nearest returns the word of known that takes the fewest edits to make from
// word, the first of equals, or "" if all are far: more than two edits, or more
// than half of the word.
func nearest(word string, known []string) string {
	n := utf8.RuneCountInString(word)
	best, least := "", min(2, n/2)+1
	for _, k := range known {
		if m := utf8.RuneCountInString(k); m > n+2 || n > m+2 {
			continue // cannot be near; also bounds the work on long input
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of characters
// that make b from a (Levenshtein), row by row.
func editDistance(a, b string) int {
	from, to := []rune(a), []rune(b)
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range to {
			cost := diagonal
			if x != y {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(to)]
}
