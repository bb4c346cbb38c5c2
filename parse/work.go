// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"context"
	"sync"
	"time"
)

// MaxFileWork is what Bytes spends on the key derivation of one input, and what
// a caller of BytesWithin should give a file. It is enough to try what everybody
// knows on a key of ssh-keygen, which asks for the most of all common tools.
const MaxFileWork = time.Second

// A Work is how much time of a core may still be spent on trying passphrases.
// How much one try takes is written in the file, so that whoever writes files
// must not also decide how long they are looked at. It is counted, not
// measured: the costs are those of a server core of 2024 (see below), so that a
// look finds the same on a slow machine and on a fast one.
//
// A Work is safe to use from several goroutines.
type Work struct {
	within *Work       // pays as well; nil for what NewWork made
	mu     *sync.Mutex // of the outermost Work; guards left of it and of all parts
	left   time.Duration
}

// NewWork returns a Work of that much time.
func NewWork(limit time.Duration) *Work { return &Work{mu: new(sync.Mutex), left: limit} }

// Part returns a Work that ends with w or when limit is spent, whichever comes first.
func (w *Work) Part(limit time.Duration) *Work { return &Work{within: w, mu: w.mu, left: limit} }

// spend takes cost off w and off what it is a part of; when one of them has
// less than that left, nothing is taken.
func (w *Work) spend(cost time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := w; part != nil; part = part.within {
		if cost < 0 || cost > part.left {
			return false
		}
	}
	for part := w; part != nil; part = part.within {
		part.left -= cost
	}
	return true
}

// What one step costs, measured with Go 1.26 on a core of an AMD EPYC with
// SHA instructions and rounded up.
const (
	md5Cost    = 130 * time.Nanosecond // one block, as for the others
	sha1Cost   = 110 * time.Nanosecond
	sha256Cost = 100 * time.Nanosecond
	sha512Cost = 320 * time.Nanosecond
	scryptCost = 500 * time.Nanosecond // for each of n*r*p
	bcryptCost = 12 * time.Millisecond // for each round of OpenSSH's key derivation
	dsaCost    = 4 * time.Millisecond  // for one exponentiation with maxDSA bits
	desCost    = 40 * time.Nanosecond  // for each byte, as for the rest; also RC2
	byteCost   = 4 * time.Nanosecond   // the other ciphers and hashes
)

// hashCosts are the costs of the digests of hashes.
var hashCosts = map[string]time.Duration{
	"sha1": sha1Cost, "sha224": sha256Cost, "sha256": sha256Cost, "sha384": sha512Cost, "sha512": sha512Cost,
}

// A work is the Work of one input.
type work struct {
	ctx      context.Context // of the call; when it ends, nothing more is tried
	budget   *Work
	exceeded bool // a try was given up for lack of work
}

// spend says whether there is work left for count steps.
func (w *work) spend(count int, cost time.Duration) bool {
	if count < 0 || w.ctx.Err() != nil || !w.budget.spend(time.Duration(count)*cost) {
		w.exceeded = true
		return false
	}
	return true
}

// maxSalt bounds what is hashed before the rounds are counted. Tools write 8 to 64 bytes.
const maxSalt = 1024
