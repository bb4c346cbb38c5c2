// SPDX-License-Identifier: Apache-2.0

package agent

// Readdress returns a token that leads elsewhere.
func Readdress(text, address string) (string, error) {
	t, err := parseToken(text)
	t.Address = address
	return t.String(), err
}

// TokenHash is what stands for the secret of a token.
func TokenHash(text string) (string, error) {
	t, err := parseToken(text)
	return hashOf(t.Secret), err
}

// ParseToken says whether a text is a token.
func ParseToken(text string) error { _, err := parseToken(text); return err }
