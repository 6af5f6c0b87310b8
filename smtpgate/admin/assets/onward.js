// The page of a return from a provider of identities goes on by itself.
"use strict";
document.getElementById("onward").submit();
