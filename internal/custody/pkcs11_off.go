// SPDX-License-Identifier: Apache-2.0

//go:build !pkcs11

package custody

import (
	"fmt"

	"github.com/tallystick/tallystick"
)

// builtPKCS11 says whether tokens can be used.
const builtPKCS11 = false

// newPKCS11 says how to build a program that can use tokens: their libraries are C,
// and this program is without it, so that it runs anywhere.
func newPKCS11(pkcs11Options) (Wrapper, error) {
	return nil, fmt.Errorf("%w: this tally was built without PKCS #11: build one with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/tally", tallystick.ErrInvalid)
}
