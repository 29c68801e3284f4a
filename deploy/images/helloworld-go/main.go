// helloworld-go answers every HTTP request with a greeting: the server that the published manifest names.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

// What Knative's sample of the same name reads, so that one image serves a comparison too.
func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func main() {
	target := setting("TARGET", "World")
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(response, "Hello %s!\n", target)
	})
	listener, err := net.Listen("tcp", net.JoinHostPort("", setting("PORT", "8080")))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}
