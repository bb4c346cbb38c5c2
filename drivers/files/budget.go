// SPDX-License-Identifier: Apache-2.0

package files

import (
	"sync"
	"time"

	"github.com/tallystick/tallystick/parse"
)

// What a look spends on trying passphrases. How long a try takes is up to
// whoever wrote the file, so that each account has an allowance of its own, and
// root's files have one that nobody else can use up.
const (
	rootWork   = 30 * time.Second
	othersWork = 30 * time.Second
	ownerWork  = 10 * time.Second // of othersWork, for each other account
)

// Budgets hold what is left for the files of each account.
type budgets struct {
	mu     sync.Mutex
	others *parse.Work
	owners map[uint32]*parse.Work // guarded by mu
}

func newBudgets() *budgets {
	return &budgets{
		others: parse.NewWork(othersWork),
		owners: map[uint32]*parse.Work{0: parse.NewWork(rootWork)},
	}
}

// file returns what may be spent on one file of the account.
func (b *budgets) file(uid uint32) *parse.Work {
	b.mu.Lock()
	defer b.mu.Unlock()
	owner := b.owners[uid]
	if owner == nil {
		owner = b.others.Part(ownerWork)
		b.owners[uid] = owner
	}
	return owner.Part(parse.MaxFileWork)
}
