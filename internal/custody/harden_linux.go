// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Harden keeps the memory of this process out of core dumps, and from being read by
// other processes of the same user (prctl(2) PR_SET_DUMPABLE). Root can still read
// it, and it may be swapped.
func Harden() error {
	none := unix.Rlimit{}
	return errors.Join(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0), unix.Setrlimit(unix.RLIMIT_CORE, &none))
}
