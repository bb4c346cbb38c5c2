// SPDX-License-Identifier: Apache-2.0

package web

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// A detail may be about a root that is at a thousand places. The page shows
// the beginning of each list; the rest is a list of its own.
const (
	detailPlaces   = 60
	detailFindings = 10
	detailNames    = 40
	detailSameKey  = 30
	detailHistory  = 20
	stickPlaces    = 8
	maxPEM         = 40_000
)

// credentialPage answers: what is it, what does it open, is it safe?
type credentialPage struct {
	frame
	inventory.Detail
	Name         string
	Stick        stick
	OpenCards    []findingCard
	PastCards    []findingCard
	MoreFindings int
	Trusted      int64 // trust stores that believe it now
	Places       []store.SightingRow
	Names        []string
	MoreNames    int64
	Same         []store.CredentialRow
	SameCount    int64
	History      []store.PastAnnotation
	PEM          string
	PEMLabel     string
	Tags         string
	Uses         credentialUses
	Named        bool   // it is known by its uses alone
	RecallURL    string // leads to what a recall of it would do; "" where nothing is recalled
}

// Credential is one credential with all that is known about it.
func (s *Site) Credential(w http.ResponseWriter, r *http.Request) {
	p, err := s.credentialPage(r)
	id := r.PathValue("id")
	if errors.Is(err, tallystick.ErrNotFound) && wholeFingerprint.MatchString(id) {
		s.unknownCredential(w, r, tallystick.Fingerprint(id))
		return
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "credential", p)
}

func (s *Site) credentialPage(r *http.Request) (*credentialPage, error) {
	d, err := s.Inventory.Credential(r.Context(), actorOf(r), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	c := d.Credential
	name := nameOf(c.Subject, c.Names, c.Kind, c.ID)
	p := &credentialPage{
		frame: frame{Title: name, Section: "credentials"}, Detail: *d, Name: name,
		OpenCards:    s.cards(r, head(detailFindings, d.Findings), false),
		PastCards:    s.cards(r, head(detailFindings, d.Past), false),
		MoreFindings: max(0, len(d.Findings)-detailFindings),
		Places:       head(detailPlaces, d.Sightings),
		Names:        head(detailNames, c.Names), MoreNames: int64(max(0, len(c.Names)-detailNames)),
		Same: head(detailSameKey, d.SameKey), SameCount: int64(len(d.SameKey)), History: head(detailHistory, d.Annotations),
		Tags: strings.Join(d.Row.Annotation.Tags, " "),
	}
	for _, sighting := range d.Sightings {
		if sighting.Place.Scheme() == "truststore" && sighting.GoneSince.IsZero() {
			p.Trusted++
		}
	}
	if p.Uses, err = s.usesOf(r, c.ID); err != nil {
		return nil, err
	}
	p.Named = c.Kind == tallystick.KindNamed
	if s.Recalls != nil {
		p.RecallURL = recallURL(c.Key.ID, c.ID)
	}
	p.Stick = stickOf(d.Holders, d.Opens, p.Trusted, p.Uses)
	p.PEM, p.PEMLabel = pemOf(c)
	return p, nil
}

var wholeFingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)

// unknownCredentialPage says of a credential that nothing is known of it, and what can be
// done all the same. Recalls lead here: what is burnt need not have been found.
type unknownCredentialPage struct {
	frame
	ID        tallystick.Fingerprint
	RecallURL string
}

func (s *Site) unknownCredential(w http.ResponseWriter, r *http.Request, id tallystick.Fingerprint) {
	p := &unknownCredentialPage{frame: frame{Title: "Unknown credential", Section: "credentials"}, ID: id}
	if s.Recalls != nil {
		p.RecallURL = recallURL("", id)
	}
	s.render(w, r, http.StatusNotFound, "unknowncredential", p)
}

// pemOf returns the public bytes of a credential as text (RFC 7468), and what
// to call it; "" when there are none, or too many for a page.
func pemOf(c *tallystick.Credential) (text, label string) {
	block := &pem.Block{}
	switch {
	case c.Kind == tallystick.KindCertificate && len(c.Raw) > 0:
		block.Type, block.Bytes = "CERTIFICATE", c.Raw
		label = "Certificate"
	case len(c.Key.SPKI) > 0:
		block.Type, block.Bytes = "PUBLIC KEY", c.Key.SPKI
		label = "Public key"
	default:
		return "", ""
	}
	if len(block.Bytes) > maxPEM {
		return "", ""
	}
	return string(pem.EncodeToMemory(block)), label
}

// A stick is the two halves of the tally: where the private half is, and where
// it opens something.
type stick struct {
	Held, Opens           []store.SightingRow // the beginnings
	Parties               []connectionRow     // that accepted it, the beginning
	HeldCount, OpensCount int64
	MoreHeld, MoreOpens   int64
	MoreParties           int64
	HeldAt, OpensAt       []tick // the notches
}

// maxNotches is how many notches a half has room for.
const maxNotches = 12

// stickOf draws the halves; trust stores accept, too, and are only counted. Who
// accepted it as uses show is beside where that was seen.
func stickOf(held, opens []store.SightingRow, trusted int64, uses credentialUses) stick {
	accepting := len(opens) + int(trusted) + int(uses.Parties)
	holding := len(held)
	if holding == 0 && uses.Made {
		holding = 1
	}
	parties := head(stickPlaces, uses.Connections)
	return stick{
		Held: head(stickPlaces, held), HeldCount: int64(len(held)), MoreHeld: int64(max(0, len(held)-stickPlaces)),
		Opens: head(stickPlaces, opens), OpensCount: int64(accepting), MoreOpens: int64(max(0, len(opens)-stickPlaces)),
		Parties: parties, MoreParties: max(0, uses.Parties-int64(len(parties))),
		HeldAt: notches(holding, 3), OpensAt: notches(accepting, 57),
	}
}

// notches spreads n notches over 40 % of the stick.
func notches(n int, from float64) []tick {
	n = min(n, maxNotches)
	var list []tick
	for i := range n {
		list = append(list, tick{X: percent(from + 40*(float64(i)+0.5)/float64(n))})
	}
	return list
}

// A findingCard is a finding as the part "finding" shows it.
type findingCard struct {
	store.FindingRow
	Rule          rule.Rule
	RuleURL       string // the list of the rule's findings; "" on that list
	CredentialURL string // "" on the credential's own page, and when it is about none
	About         string // what it is about when that is no credential: "book entra (relying)"
	AboutURL      string // where that can be seen; "" when it is nowhere
	AtURL         string // of the place where it is
	UsesURL       string // the uses that prove it
	ShowDo        bool
	MayChange     bool
	Back          string // where forms lead back to
	Tomorrow      string
	Quarter       string
	NextYear      string
}

// More returns how many places of the credential the card leaves out.
func (c findingCard) More() int64 { return max(0, c.Places-1) }

// cards prepares findings for a page; about says that the page is about a rule,
// so that the credential is what each of them has to name.
func (s *Site) cards(r *http.Request, rows []store.FindingRow, about bool) []findingCard {
	operator := (&frame{Actor: actorOf(r)}).MayChange()
	today := s.Now().UTC()
	on := func(days int) string { return today.AddDate(0, 0, days).Format(time.DateOnly) }
	list := make([]findingCard, 0, len(rows))
	for _, row := range rows {
		card := findingCard{
			FindingRow: row, Rule: s.Findings.Rule(row.Rule), ShowDo: !about, MayChange: operator && row.Closed.IsZero(),
			Back: here(r), Tomorrow: on(1), Quarter: on(90), NextYear: on(364),
		}
		if at := row.At(); row.Credential == "" {
			card.About, card.AboutURL = aboutPlace(at)
			if strings.HasPrefix(row.Rule, "change-") {
				card.AboutURL = directoryURL("target", string(at))
			}
		} else if at != "" {
			card.AtURL = "/place?uri=" + url.QueryEscape(string(at))
		}
		if card.Rule.Use != nil && row.Credential != "" {
			card.UsesURL = useURL("credential", string(row.Credential), "list", "true")
			if card.Rule.Foreign {
				card.UsesURL = useURL("credential", string(row.Credential), "verdict", string(tallystick.VerdictForeign), "list", "true")
			}
		}
		if about && row.Credential != "" {
			card.CredentialURL = "/credentials/" + string(row.Credential)
		}
		if !about {
			card.RuleURL = "/findings?rule=" + row.Rule
		}
		list = append(list, card)
	}
	return list
}

// aboutPlace says what a finding without a credential is about, a source, a wrapping key or an
// account of a directory, and where that can be seen.
func aboutPlace(place tallystick.Place) (words, address string) {
	kind, name, _ := strings.Cut(string(place), ":")
	switch kind {
	case "book":
		side, source, _ := strings.Cut(name, "/")
		return fmt.Sprintf("book %s (%s)", shortPlace(source, 80), clip(20, side)), "/books"
	case "wrapping":
		return "wrapping key " + shortPlace(name, 80), "/entrusted"
	}
	return shortPlace(string(place), 96), ""
}

// AnnotateCredential replaces what is said about one credential.
func (s *Site) AnnotateCredential(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a := tallystick.Annotation{
		Owner: strings.TrimSpace(r.PostFormValue("owner")), Environment: strings.TrimSpace(r.PostFormValue("environment")),
		Tags: tagsOf(r.PostFormValue("tags")), Notes: strings.ReplaceAll(strings.TrimSpace(r.PostFormValue("notes")), "\r\n", "\n"),
	}
	if err := s.Inventory.Annotate(r.Context(), actorOf(r), []tallystick.Fingerprint{tallystick.Fingerprint(id)}, a); err != nil {
		s.again(w, r, err, "annotate", r.PostForm, "credential", func() (page, error) { return s.credentialPage(r) })
		return
	}
	done(w, r, "/credentials/"+id, "annotated")
}
