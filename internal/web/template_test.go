// SPDX-License-Identifier: Apache-2.0

package web

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/jba/templatecheck"
)

// pages are the structs that the templates are made for.
var pages = map[string]page{
	"access": &accessPage{}, "audit": &auditPage{}, "credential": &credentialPage{}, "credentials": &credentialsPage{},
	"error": &errorPage{}, "findings": &findingsPage{}, "overview": &overviewPage{}, "place": &placePage{}, "places": &placesPage{},
	"bookmap": &bookMapPage{}, "books": &booksPage{}, "incident": &incidentPage{}, "use": &usePage{}, "uses": &usesPage{},
	"directory": &directoryPage{}, "undo": &undoPage{}, "entrusted": &entrustedPage{}, "entrustedsecret": &entrustedSecretPage{}, "readable": &readablePage{}, "sources": &sourcesPage{}, "network": &networkPage{}, "networks": &networksPage{},
	"issuers": &issuersPage{}, "issuer": &issuerPage{}, "issued": &issuedPage{}, "certificate": &certificatePage{}, "requests": &requestsPage{},
	"policies": &policiesPage{}, "orders": &ordersPage{}, "renewals": &renewalsPage{},
	"recalls": &recallsPage{}, "recall": &recallPage{}, "recalltargets": &recallTargetsPage{}, "recalltarget": &recallTargetPage{}, "recallplan": &recallPlanPage{}, "recallevidence": &recallEvidencePage{},
	"run": &runPage{}, "runchanges": &runChangesPage{}, "runmisses": &runMissesPage{}, "runs": &runsPage{}, "signin": &signInPage{},
	"unknowncredential": &unknownCredentialPage{},
}

// A field that a struct lacks is an error of a template that shows only when
// its line is reached; here every line is checked.
func TestTemplatesFitTheirPages(t *testing.T) {
	s, err := New(Features{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for stem, template := range s.templates {
		p, ok := pages[stem]
		if !ok {
			t.Errorf("%s.html has no struct in this test", stem)
			continue
		}
		if err := templatecheck.CheckHTML(template, p); err != nil {
			t.Errorf("%s.html: %v", stem, err)
		}
	}
	if len(s.templates) != len(pages) {
		t.Errorf("%d templates for %d pages", len(s.templates), len(pages))
	}
}

// The content security policy would make such things silently fail.
func TestTemplatesHaveNothingInline(t *testing.T) {
	names, err := fs.Glob(templateFiles, "*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := templateFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, banned := range []string{"style=", "<style", "onclick=", "onload=", "<script>", "javascript:", "http://", "https://"} {
			if strings.Contains(string(text), banned) {
				t.Errorf("%s has %q", name, banned)
			}
		}
	}
}
