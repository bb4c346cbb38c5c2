// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
)

// maxFact is how many characters of one fact a page shows.
const maxFact = 120

// factsOf says in a few words each what a driver noticed at a place.
func factsOf(f tallystick.Facts) []string {
	var words []string
	if f.File != nil {
		words = append(words, fileFacts(f.File)...)
	}
	if f.TLS != nil {
		words = append(words, tlsFacts(f.TLS)...)
	}
	if f.SSH != nil {
		words = append(words, sshFacts(f.SSH)...)
	}
	if f.Entra != nil {
		words = append(words, entraFacts(f.Entra)...)
	}
	if f.Account != nil {
		words = append(words, accountFacts(f.Account)...)
	}
	for i := range words {
		words[i] = clip(maxFact, words[i])
	}
	return words
}

func fileFacts(f *tallystick.FileFacts) []string {
	words := nonEmpty(f.Format)
	if f.Alias != "" {
		words = append(words, "entry "+f.Alias)
	}
	if f.Mode != "" {
		words = append(words, fmt.Sprintf("%s %s:%s", f.Mode, f.Owner, f.Group))
	}
	switch {
	case f.Private && f.WeakPassphrase:
		words = append(words, "private half, under a passphrase that everybody knows")
	case f.Private && f.Passphrase:
		words = append(words, "private half, under a passphrase")
	case f.Private:
		words = append(words, "private half, no passphrase")
	}
	if f.Private && len(f.Readers) > 0 {
		words = append(words, "readable by "+list(f.Readers))
	}
	for _, u := range head(3, f.UsedBy) {
		words = append(words, usedBy(u))
	}
	return words
}

func usedBy(u tallystick.Usage) string {
	text := "used by " + u.Service
	if u.As != "" {
		text += " as " + u.As
	}
	if u.Config != "" {
		text += fmt.Sprintf(" (%s:%d)", u.Config, u.Line)
	}
	return text
}

func tlsFacts(f *tallystick.TLSFacts) []string {
	var words []string
	if f.Position > 0 {
		words = append(words, fmt.Sprintf("number %d of the chain", f.Position+1))
	}
	if f.Process != "" {
		words = append(words, "served by "+f.Process)
	}
	if len(f.Protocols) > 0 {
		words = append(words, list(f.Protocols))
	}
	if f.Evidence != "" {
		words = append(words, string(f.Evidence))
	}
	if f.VerifyError != "" {
		words = append(words, "not good for this machine: "+f.VerifyError)
	}
	return words
}

func sshFacts(f *tallystick.SSHFacts) []string {
	var words []string
	if f.Account != "" {
		words = append(words, "opens the account "+f.Account)
	}
	if f.CertAuth {
		words = append(words, "trusted as an authority")
	}
	if len(f.Hosts) > 0 {
		words = append(words, "known as "+list(f.Hosts))
	}
	if len(f.Options) > 0 {
		words = append(words, list(f.Options))
	}
	if f.Line > 0 {
		words = append(words, fmt.Sprintf("line %d", f.Line))
	}
	return words
}

func entraFacts(f *tallystick.EntraFacts) []string {
	words := []string{"signs in as " + f.Name}
	if f.Name == "" {
		words[0] += f.Application
	}
	if f.Home != "" {
		words = append(words, "an application of the tenant "+f.Home)
	}
	if f.FirstParty {
		words = append(words, "one of Microsoft's own")
	}
	if f.Disabled {
		words = append(words, "disabled")
	}
	if f.Issuer != "" {
		words = append(words, fmt.Sprintf("whoever has a token of %s for %s", f.Issuer, f.Subject))
	}
	if len(f.Owners) > 0 {
		words = append(words, "owned by "+list(f.Owners))
	}
	for _, g := range head(3, f.Grants) {
		words = append(words, g.Opens)
	}
	if more := len(f.Grants) - 3; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return words
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// list joins the first few of some words.
func list(words []string) string {
	text := strings.Join(head(6, words), ", ")
	if n := len(words) - 6; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
