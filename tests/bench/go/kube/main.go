// Command kube answers the five requests that delegated authentication and authorisation make of a
// Kubernetes API server: the ConfigMap of the front proxy (get, list, watch), TokenReview and
// SubjectAccessReview, both granted. Both servers of the benchmark ask it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

var reviews atomic.Int64

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("cert", "", "serving certificate")
	key := flag.String("key", "", "its key")
	authority := flag.String("requestheader-ca", "", "CA of the front proxy")
	flag.Parse()
	ca, err := os.ReadFile(*authority)
	if err != nil {
		log.Fatal(err)
	}
	configMap := map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name": "extension-apiserver-authentication", "namespace": "kube-system", "resourceVersion": "1", "uid": "1",
		},
		"data": map[string]string{
			"client-ca-file":                     string(ca),
			"requestheader-client-ca-file":       string(ca),
			"requestheader-allowed-names":        `["front-proxy-client"]`,
			"requestheader-username-headers":     `["X-Remote-User"]`,
			"requestheader-uid-headers":          `["X-Remote-Uid"]`,
			"requestheader-group-headers":        `["X-Remote-Group"]`,
			"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		},
	}
	http.HandleFunc("/api/v1/namespaces/kube-system/configmaps/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, configMap)
	})
	http.HandleFunc("/api/v1/namespaces/kube-system/configmaps", func(w http.ResponseWriter, r *http.Request) {
		if watch := r.URL.Query().Get("watch"); watch == "1" || watch == "true" {
			hold(w, r, configMap)
			return
		}
		answer(w, http.StatusOK, map[string]any{
			"apiVersion": "v1", "kind": "ConfigMapList",
			"metadata": map[string]any{"resourceVersion": "1"}, "items": []any{configMap},
		})
	})
	http.HandleFunc("/apis/authorization.k8s.io/v1/subjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		review(w, r, map[string]any{"allowed": true})
	})
	http.HandleFunc("/apis/authentication.k8s.io/v1/tokenreviews", func(w http.ResponseWriter, r *http.Request) {
		review(w, r, map[string]any{"authenticated": true, "user": map[string]any{"username": "someone"}})
	})
	http.HandleFunc("/reviews", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, reviews.Load())
	})
	log.Fatal(http.ListenAndServeTLS(*address, *certificate, *key, nil))
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func review(w http.ResponseWriter, r *http.Request, status map[string]any) {
	reviews.Add(1)
	var asked map[string]any
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		http.Error(w, "JSON only", http.StatusUnsupportedMediaType)
		return
	}
	asked["status"] = status
	answer(w, http.StatusCreated, asked)
}

// hold keeps a watch open without an event, after the initial events where they are asked for.
func hold(w http.ResponseWriter, r *http.Request, object map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": object})
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{
				"resourceVersion": "1",
				"annotations":     map[string]string{"k8s.io/initial-events-end": "true"},
			},
		}})
	}
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}
