// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// An edge holds, by level, the last complete hash of each level of a tree that
// grows: all that is needed to hash the next record and the root. It is a
// tlog.HashReader for nothing else.
type edge [64]tlog.Hash

// ReadHashes returns the hashes at stored-hash indexes, which must be the last
// of their levels.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, _ := tlog.SplitStoredHashIndex(index)
		hashes[i] = e[level]
	}
	return hashes, nil
}

// add puts the text of record n, counted from 0, at the end of the tree, and
// returns the hashes to store from tlog.StoredHashIndex(0, n) on.
func (e *edge) add(n int64, text []byte) ([][]byte, error) {
	added, err := tlog.StoredHashes(n, text, e)
	if err != nil {
		return nil, fmt.Errorf("couldn't hash record %d: %w", n+1, err)
	}
	hashes := make([][]byte, len(added))
	for level, hash := range added {
		e[level] = hash
		hashes[level] = hash[:]
	}
	return hashes, nil
}

// readEdge reads the edge of a tree with the given number of records.
func readEdge(size int64, read func([]int64) ([][]byte, error)) (*edge, error) {
	var positions []int64
	for level := 0; size>>level > 0; level++ {
		positions = append(positions, tlog.StoredHashIndex(level, size>>level-1))
	}
	hashes, err := read(positions)
	if err != nil {
		return nil, err
	}
	var e edge
	for level, hash := range hashes {
		if copy(e[level][:], hash) != tlog.HashSize || len(hash) != tlog.HashSize {
			return nil, errors.New("a hash has the wrong size")
		}
	}
	return &e, nil
}
