// SPDX-License-Identifier: Apache-2.0

package sshca_test

import "github.com/tallystick/tallystick/internal/store"

// storeAll finds everything that was issued.
var storeAll = store.IssuedFilter{}
