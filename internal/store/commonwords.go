// SPDX-License-Identifier: Apache-2.0

package store

import "sync"

// maxCommonWords bounds commonWords to about a megabyte.
const maxCommonWords = 10_000

// commonWords are search terms that so many credentials have that a search for
// them, or for anything they begin with, walks the list; see broadTerm. No more
// rows are written for them: an estate has its own name in every certificate.
// A process forgets them when it ends and then writes some more, which does no harm.
type commonWords struct {
	mu     sync.Mutex
	stored map[string]int // guarded by mu; how many rows this process has written
}

// broad returns the words that need not be stored again.
func (w *commonWords) broad() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	common := map[string]bool{}
	for word, n := range w.stored {
		if n >= broadTerm {
			common[word] = true
		}
	}
	return common
}

// count takes the rows of terms that were committed. Words that stand alone in
// their batch are not counted: those that matter do not.
func (w *commonWords) count(terms [][]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stored == nil || len(w.stored) > maxCommonWords {
		w.stored = map[string]int{}
	}
	for first := 0; first < len(terms); {
		word, last := terms[first][0].(string), first
		for last < len(terms) && terms[last][0] == word {
			last++
		}
		if last-first > 1 {
			w.stored[word] += last - first
		}
		first = last
	}
}
