// SPDX-License-Identifier: Apache-2.0

// Package tallystick holds the nouns that every other package of Tallystick
// speaks in: credentials and their keys, the places where they are kept, shown
// or accepted, the sightings that tie the two, the findings about them, and the
// uses of a credential with the verdicts of the tally.
//
// It imports the standard library only, and of what it does it needs nothing but
// its arguments: reading foreign bytes is package parse, talking to real systems
// is driver and drivers, judging is rule and rules, remembering is internal/store. A value of this package never
// contains a secret byte; see driver.Secret for what may.
//
// A map of the whole is docs/design/0001-the-house.md.
package tallystick
