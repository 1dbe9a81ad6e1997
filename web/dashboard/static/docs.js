// The HTTP API by Swagger UI; nothing but this host is asked.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null });
