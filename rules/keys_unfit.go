// SPDX-License-Identifier: Apache-2.0

package rules

// UnfitKey names the rules whose finding says something of a key that stays true for
// ever: nobody should be given a certificate for it, whatever became of the finding.
func UnfitKey() []string {
	return []string{"compromised-key", "weak-key", "small-exponent", "roca", "close-primes", "shared-prime", "shared-nonce"}
}

// StolenKey names the rules whose finding says, while it is open, that somebody else
// has the key.
func StolenKey() []string { return []string{"foreign-use"} }
