"""Complete examples built on the packages of this project. The product imports none of them."""
