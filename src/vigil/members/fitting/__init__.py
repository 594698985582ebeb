"""How members are fitted: the only modules of the members that import scikit-learn, Keras, JAX or XGBoost."""
