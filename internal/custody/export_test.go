// SPDX-License-Identifier: Apache-2.0

package custody

// Forget makes a key be fetched again.
func Forget(c *Custody, id string) { c.cache.drop(id) }
