// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package spiffe

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// A process is not looked at on this system.
type process struct{}

// identify knows no way to ask this system who connects.
func identify(*net.UnixConn) (*caller, error) {
	return nil, fmt.Errorf("the Workload API needs Linux: %w", errors.ErrUnsupported)
}

func (*process) program() (*os.File, string, fileID, error) {
	return nil, "", fileID{}, errors.ErrUnsupported
}

func (*process) close() {}
