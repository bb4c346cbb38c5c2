// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package custody

import "golang.org/x/sys/unix"

// Harden keeps the memory of this process out of core dumps.
func Harden() error {
	none := unix.Rlimit{}
	return unix.Setrlimit(unix.RLIMIT_CORE, &none)
}
