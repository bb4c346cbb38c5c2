// SPDX-License-Identifier: Apache-2.0

package problem

// tooLong bounds the words that are compared, in bytes: what is longer is no
// slip, and comparing it would cost its length times that of every word.
const tooLong = 64

// Nearest returns the one of words that is most likely meant by a mistyped
// word, or "" when none is near.
func Nearest(word string, words []string) string {
	best, least := "", max(2, len(word)/3)+1
	if len(word) > tooLong {
		return ""
	}
	for _, w := range words {
		if d := distance(word, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions and substitutions of bytes that
// turn a into b (V. I. Levenshtein, 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
